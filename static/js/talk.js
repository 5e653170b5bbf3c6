// The Ask page: new messages appear by themselves; Enter sends, Shift and Enter begins a new line.
import { keepFresh } from "./fresh.js";

keepFresh(document);
const words = document.querySelector("form[data-talk] textarea");
words?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (words.value.trim()) words.form.requestSubmit();
  }
});
