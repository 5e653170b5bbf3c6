// Brings in the posts that came while a feed was open. Without it they stand there after the next reload.
const feed = document.querySelector("[data-news-url]");
const place = feed?.querySelector("[data-news]");
const EVERY = 12_000;

async function look() {
  if (document.visibilityState === "hidden") return;
  const { newsUrl, newsMark } = feed.dataset;
  let answer;
  try {
    answer = await fetch(`${newsUrl}?after=${encodeURIComponent(newsMark)}`, { headers: { "If-None-Match": `W/"${newsMark}"` } });
  } catch {
    return; // No network for now: the next look tries again.
  }
  if (answer.status !== 200 || answer.redirected) return;
  const mark = /"(.+)"/.exec(answer.headers.get("ETag") ?? "")?.[1];
  if (!mark || mark === newsMark) return;
  const posts = await answer.text();
  // A slow answer may have been overtaken by the next look.
  if (feed.dataset.newsMark !== newsMark) return;
  feed.dataset.newsMark = mark;
  place.insertAdjacentHTML("afterbegin", posts);
  feed.querySelector(".empty-state")?.remove();
  feed.dispatchEvent(new Event("posts-came"));
}

if (place) setInterval(look, EVERY + Math.random() * 2_000);
