// The desk's small comforts: a saved answer goes into the text where the cursor stands, cards of the board can be dragged,
// what is open stays fresh without loading the page anew, and what was begun stays when it is. Every page works without them.
import { keepDrafts } from "./drafts.js";
import { keepFresh } from "./fresh.js";

document.addEventListener("click", (event) => {
  const phrase = event.target.closest("[data-insert]");
  const form = document.querySelector("form[data-answer]");
  const words = form?.querySelector("textarea");
  if (!phrase || !words || event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  const [from, until] = [words.selectionStart, words.selectionEnd];
  const text = phrase.dataset.insert;
  words.value = words.value.slice(0, from) + text + words.value.slice(until);
  words.focus();
  words.setSelectionRange(from + text.length, from + text.length);
  if (form.elements.macro) form.elements.macro.value = phrase.dataset.macro ?? "";
  words.dispatchEvent(new Event("input", { bubbles: true }));
});

const board = document.querySelector("[data-board]");
if (board) {
  let held = null;
  board.addEventListener("dragstart", (event) => {
    held = event.target.closest("[data-card]");
    held?.classList.add("is-held");
  });
  board.addEventListener("dragend", () => {
    held?.classList.remove("is-held");
    for (const column of board.querySelectorAll(".is-over")) column.classList.remove("is-over");
    held = null;
  });
  const takes = (column) => held && column && held.dataset.moves.split(" ").includes(column.dataset.column);
  board.addEventListener("dragover", (event) => {
    const column = event.target.closest("[data-column]");
    for (const other of board.querySelectorAll(".is-over")) if (other !== column) other.classList.remove("is-over");
    if (!takes(column)) return;
    event.preventDefault();
    column.classList.add("is-over");
  });
  board.addEventListener("drop", (event) => {
    const column = event.target.closest("[data-column]");
    if (!takes(column)) return;
    event.preventDefault();
    const form = held.querySelector("form");
    form.elements.to.value = column.dataset.column;
    form.requestSubmit();
  });
}

keepDrafts(document);
keepFresh(document);
