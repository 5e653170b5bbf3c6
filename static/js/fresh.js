// A piece of a page that asks whether it has changed: `data-fresh` is where, `data-seconds` how often. The server answers 304
// while nothing has; a hidden page asks nothing, and a server that does not answer is asked less often. Who goes through it by
// keyboard stays where they are, as long as that is still there.
const nameOf = (one) => one.id || one.getAttribute("href") || one.value;

function draw(piece, html) {
  const here = piece.contains(document.activeElement) && document.activeElement !== piece ? nameOf(document.activeElement) : "";
  piece.innerHTML = html;
  if (here) [...piece.querySelectorAll("a, button, input")].find((one) => nameOf(one) === here)?.focus({ preventScroll: true });
}

export function keepFresh(root) {
  for (const piece of root.querySelectorAll("[data-fresh]")) {
    let mark = piece.dataset.mark ?? "";
    const pace = 1000 * Number(piece.dataset.seconds ?? 5);
    let wait = pace;
    const ask = async () => {
      if (document.visibilityState === "visible") {
        try {
          const answer = await fetch(piece.dataset.fresh, {
            headers: mark ? { "If-None-Match": mark } : {},
            cache: "no-store",
            credentials: "same-origin",
            redirect: "error",
          });
          if (answer.ok) {
            const atEnd = piece.scrollHeight - piece.scrollTop - piece.clientHeight < 80;
            draw(piece, await answer.text());
            mark = answer.headers.get("ETag") ?? "";
            piece.dispatchEvent(new Event("fresh"));
            if (atEnd) piece.scrollTop = piece.scrollHeight;
          }
          wait = answer.ok || answer.status === 304 ? pace : Math.min(wait * 2, 60_000);
        } catch {
          wait = Math.min(wait * 2, 60_000);
        }
      }
      setTimeout(ask, wait);
    };
    piece.scrollTop = piece.scrollHeight;
    setTimeout(ask, wait);
  }
}
