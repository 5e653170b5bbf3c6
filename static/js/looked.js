// Tells the shop that what it wrote was looked at, so that nobody is told of it again: the page is before somebody, and its last
// word on it. Reading a page changes nothing on the server, so this is a POST of its own; without script a word of the member's
// says as much.
for (const piece of document.querySelectorAll("[data-looked]")) {
  let told = "";
  const tell = () => {
    const last = ([...piece.querySelectorAll(".talk-theirs")].pop()?.id ?? "") + (piece.querySelector("[data-over]") ? " over" : "");
    if (document.visibilityState !== "visible" || !last || last === told || !navigator.sendBeacon) return;
    const said = new FormData();
    const token = document.querySelector("[name=csrf_token]");
    if (token) said.append("csrf_token", token.value);
    if (navigator.sendBeacon(piece.dataset.looked, said)) told = last;
  };
  tell();
  piece.addEventListener("fresh", tell);
  document.addEventListener("visibilitychange", tell);
}
