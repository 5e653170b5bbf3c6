// What was begun in a form and not sent yet stays in this tab, while its page is loaded anew for something else: the number to
// call is shown, a step is done, a colleague was faster. A form names what it writes to as it stands (`data-draft`): once that
// has changed after the form was sent, the words have arrived. It also names who writes (`data-draft-of`): nobody finds what
// somebody else began. Every page works without this; nothing leaves the browser.
const PREFIX = "draft:";
const UNKEPT = new Set(["hidden", "file", "submit", "button", "password"]);

const fieldsOf = (form) => [...form.elements].filter((one) => one.name && !UNKEPT.has(one.type));
const ownPrefix = (form) => `${PREFIX}${form.dataset.draftOf}:`;
const keyOf = (form) => ownPrefix(form) + new URL(form.action).pathname;
const ticks = (one) => one.type === "radio" || one.type === "checkbox";
const read = (form) => JSON.stringify(fieldsOf(form).map((one) => [one.name, one.value, ticks(one) ? one.checked : null]));

function fill(form, values) {
  for (const [name, value, checked] of values) {
    for (const one of fieldsOf(form).filter((field) => field.name === name)) {
      if (ticks(one)) {
        if (one.value === value) one.checked = checked;
      } else if (one.tagName !== "SELECT" || [...one.options].some((option) => option.value === value)) {
        one.value = value;
      }
    }
  }
}

function keep(form) {
  const key = keyOf(form);
  const empty = read(form);
  const stored = JSON.parse(sessionStorage.getItem(key) ?? "null");
  if (stored?.sent !== undefined && stored.sent !== form.dataset.draft) sessionStorage.removeItem(key);
  else if (stored && !form.querySelector("[aria-invalid]")) {
    fill(form, JSON.parse(stored.values));
    if (read(form) !== empty && form.dataset.draftSaid) {
      const said = document.createElement("p");
      said.className = "form-hint";
      said.setAttribute("role", "status");
      said.textContent = form.dataset.draftSaid;
      form.prepend(said);
    }
  }
  const store = (more) => {
    const values = read(form);
    if (values === empty && !form.querySelector("[aria-invalid]")) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify({ values, ...more }));
  };
  // What the page gave back with a remark is kept like what is being typed.
  if (form.querySelector("[aria-invalid]")) store({});
  for (const kind of ["input", "change"]) form.addEventListener(kind, () => store({}));
  form.addEventListener("submit", () => store({ sent: form.dataset.draft }));
}

function forget(kept = "") {
  for (const key of Object.keys(sessionStorage)) {
    if (key.startsWith(PREFIX) && !(kept && key.startsWith(kept))) sessionStorage.removeItem(key);
  }
}

export function keepDrafts(root) {
  const forms = root.querySelectorAll("form[data-draft]");
  // Who was signed out by the clock may have been somebody else.
  if (forms.length) forget(ownPrefix(forms[0]));
  for (const form of forms) keep(form);
}

// Signing out, from whichever page, leaves nothing behind.
export function forgetDrafts(root) {
  root.addEventListener("submit", (event) => {
    if (new URL(event.target.action).pathname.endsWith("/sign-out")) forget();
  });
}
