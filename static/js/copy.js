// Copies the text of a [data-copy] button and says so on the button.
export function watchCopies(root) {
  root.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const words = button.querySelector("span") ?? button;
    const before = words.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // The clipboard needs https or localhost; elsewhere an old-fashioned selection still works.
      const area = document.createElement("textarea");
      area.value = button.dataset.copy;
      area.className = "visually-hidden";
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    words.textContent = button.dataset.copied || before;
    setTimeout(() => { words.textContent = before; }, 1600);
  });
  root.addEventListener("focusin", (event) => {
    if (event.target.matches?.("input[data-select]")) event.target.select();
  });
}
