// The console's small comforts. Every page works without them.
import { watchCopies } from "./copy.js";
import { runCountdowns } from "./countdown.js";
import { forgetDrafts } from "./drafts.js";
import { watchKeys } from "./keys.js";
import { guardForms } from "./once.js";

const page = document.documentElement;

function switchTheme() {
  const dark = page.dataset.bsTheme ? page.dataset.bsTheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  page.dataset.bsTheme = dark ? "light" : "dark";
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `theme=${page.dataset.bsTheme}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
}

document.addEventListener("click", (event) => {
  const target = event.target;
  if (target.closest("[data-theme-switch]")) switchTheme();
  if (target.closest("[data-back]")) history.back();
  const opener = target.closest("[data-dialog]");
  if (opener) {
    event.preventDefault();
    document.getElementById(opener.dataset.dialog)?.showModal();
  }
  if (target instanceof HTMLDialogElement) target.close();
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (!menu.contains(target)) menu.open = false;
  }
});

document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.matches("[data-check-all]")) {
    for (const row of box.closest("form, table").querySelectorAll(".row-check")) row.checked = box.checked;
  } else if (box.matches(".row-check")) {
    const all = box.closest("form, table").querySelector("[data-check-all]");
    const rows = [...box.closest("form, table").querySelectorAll(".row-check")];
    if (all) {
      all.checked = rows.every((row) => row.checked);
      all.indeterminate = !all.checked && rows.some((row) => row.checked);
    }
  } else if (box.matches("[data-submit-on-change]")) {
    box.form.requestSubmit();
  }
});

// A word typed to confirm: the button wakes when it is right. The server checks it again.
for (const input of document.querySelectorAll("input[data-typed]")) {
  const button = input.form.querySelector("button[type=submit]");
  const check = () => { button.disabled = input.value.trim() !== input.dataset.typed; };
  input.addEventListener("input", check);
  check();
}

// A file may be dropped anywhere on its frame.
for (const frame of document.querySelectorAll(".drop")) {
  const input = frame.querySelector("input[type=file]");
  frame.addEventListener("dragover", (event) => { event.preventDefault(); frame.classList.add("is-over"); });
  frame.addEventListener("dragleave", () => frame.classList.remove("is-over"));
  frame.addEventListener("drop", (event) => {
    event.preventDefault();
    frame.classList.remove("is-over");
    if (input && event.dataTransfer.files.length) input.files = event.dataTransfer.files;
  });
}

document.querySelector("[data-focus]")?.focus();
watchCopies(document);
runCountdowns(document);
watchKeys();
guardForms(document);
forgetDrafts(document);
