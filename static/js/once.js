// A form is sent once: the button that was pressed shows that it is busy, a second press does nothing.
export function guardForms(root) {
  root.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || (form.method || "").toLowerCase() !== "post") return;
    // A download leaves the page standing, and may be asked for again.
    if (new URL(form.action).pathname.endsWith("/export")) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
    const button = event.submitter ?? form.querySelector("button[type=submit], button:not([type])");
    // Disabled a moment later, because a disabled button's own name and value would not be sent.
    setTimeout(() => { button?.classList.add("is-busy"); button?.setAttribute("aria-disabled", "true"); }, 0);
  });
  // The back button shows the page as it was left: let the form be sent again.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
    for (const button of document.querySelectorAll(".is-busy")) {
      button.classList.remove("is-busy");
      button.removeAttribute("aria-disabled");
    }
  });
}
