// Turns <time data-countdown datetime="…"> into the time left. Without script the page shows what was left when it was made (`time_left` in kernel/i18n.py).
function left(until, days) {
  const seconds = Math.max(0, Math.floor((until - Date.now()) / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const clock = `${two(Math.floor(seconds / 3600) % 24)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return seconds >= 86400 ? `${Math.floor(seconds / 86400)} ${days} ${clock}` : clock;
}

export function runCountdowns(root) {
  const tick = () => {
    for (const time of root.querySelectorAll("time[data-countdown]")) {
      const until = Date.parse(time.dateTime);
      if (Number.isNaN(until)) continue;
      const text = left(until, time.dataset.days || "d");
      if (time.textContent !== text) time.textContent = text;
    }
  };
  if (!root.querySelector("time[data-countdown]")) return;
  tick();
  setInterval(tick, 1000);
}
