// Tells the shop which posts of a feed were really looked at: half of one on the screen for a second. Reading the page
// changes nothing on the server, so this is a POST of its own; whoever reads without script is counted by a like or a click.
const feed = document.querySelector("[data-seen-url]");
const token = feed?.querySelector("[data-seen-form] [name=csrf_token]");
const waiting = new Set();

function tell() {
  if (!waiting.size) return;
  const said = new FormData();
  if (token) said.append("csrf_token", token.value);
  for (const post of waiting) said.append("post", post);
  waiting.clear();
  navigator.sendBeacon(feed.dataset.seenUrl, said);
}

if (feed && "IntersectionObserver" in window && navigator.sendBeacon) {
  const timers = new Map();
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting, intersectionRatio, intersectionRect } of entries) {
      // A post taller than the screen can never be half visible: half a screen of it is as good.
      const looked = isIntersecting && (intersectionRatio >= 0.5 || intersectionRect.height >= innerHeight / 2);
      if (!looked) {
        clearTimeout(timers.get(target));
        timers.delete(target);
      } else if (!timers.has(target)) {
        timers.set(target, setTimeout(() => {
          waiting.add(target.dataset.seen);
          watcher.unobserve(target);
        }, 1000));
      }
    }
  }, { threshold: [0, 0.25, 0.5, 0.75, 1] });
  const watch = () => feed.querySelectorAll("[data-seen]").forEach((post) => watcher.observe(post));
  watch();
  feed.addEventListener("posts-came", watch);
  setInterval(tell, 3000);
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") tell(); });
  window.addEventListener("pagehide", tell);
}
