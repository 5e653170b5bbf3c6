// The keyboard of the console: / search, g then a letter goes to a page, j k walk a list, x selects, ? shows the list.
const PLACES = { t: "/console/", m: "/console/members", g: "/console/groups", p: "/console/pushes", d: "/console/calls", c: "/console/offers" };

function typing(target) {
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && !/^(checkbox|radio|button|submit)$/.test(target.type);
}

function place(letter) {
  // The rail knows the true addresses; the table above is what they are when the rail does not show them.
  const wanted = PLACES[letter];
  if (!wanted) return null;
  const links = [...document.querySelectorAll(".rail-link, .rail-sublink")];
  const found = links.find((link) => new URL(link.href).pathname.replace(/\/$/, "") === wanted.replace(/\/$/, ""));
  return found?.href ?? wanted;
}

function walk(step) {
  const rows = [...document.querySelectorAll("main .table > tbody > tr")];
  if (!rows.length) return;
  const here = rows.findIndex((row) => row.classList.contains("is-here"));
  const next = Math.min(rows.length - 1, Math.max(0, here + step));
  rows[here]?.classList.remove("is-here");
  rows[next].classList.add("is-here");
  rows[next].scrollIntoView({ block: "nearest" });
}

export function watchKeys() {
  let went = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details[data-menu][open]")) menu.open = false;
      const drawer = document.getElementById("rail-toggle");
      if (drawer) drawer.checked = false;
      if (typing(event.target)) event.target.blur();
      return;
    }
    if (typing(event.target) || document.querySelector("dialog[open]")) return;
    const row = document.querySelector("tr.is-here");
    if (event.key === "/") {
      event.preventDefault();
      const search = document.querySelector("[data-search]");
      search?.focus();
      search?.select();
    } else if (event.key === "?") {
      document.getElementById("keys")?.showModal();
    } else if (Date.now() - went < 1200 && place(event.key)) {
      went = 0;
      location.assign(place(event.key));
    } else if (event.key === "g") {
      went = Date.now();
    } else if (event.key === "j" || event.key === "k") {
      walk(event.key === "j" ? 1 : -1);
    } else if (event.key === "x" && row) {
      row.querySelector(".row-check")?.click();
    } else if (event.key === "Enter" && row && event.target === document.body) {
      row.querySelector("a[href]")?.click();
    }
  });
}
