// Tells the shop that what it wrote was looked at, so that nobody is told of it again: the page is before somebody, and the
// number says how much of it, for what was written since is not seen. Reading a page changes nothing on the server, so this is a
// POST of its own; without script a word of the member's says as much.
for (const piece of document.querySelectorAll("[data-looked]")) {
  let told = "";
  const tell = () => {
    const shown = (piece.querySelector("[data-shown]") ?? piece).dataset;
    const last = `${shown.shown}${"over" in shown ? " over" : ""}`;
    if (document.visibilityState !== "visible" || last === told || !navigator.sendBeacon) return;
    const said = new FormData();
    said.append("shown", shown.shown);
    const token = document.querySelector("[name=csrf_token]");
    if (token) said.append("csrf_token", token.value);
    if (navigator.sendBeacon(piece.dataset.looked, said)) told = last;
  };
  tell();
  piece.addEventListener("fresh", tell);
  document.addEventListener("visibilitychange", tell);
}
