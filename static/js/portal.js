// The phone pages' small comforts. Every page works without them.
import { watchCopies } from "./copy.js";
import { runCountdowns } from "./countdown.js";
import { guardForms } from "./once.js";

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-back]")) history.back();
});
document.querySelector("[data-focus]")?.focus();
watchCopies(document);
runCountdowns(document);
guardForms(document);
