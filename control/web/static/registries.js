// The registries, and the entries of one by page.

import { count, empty, filled, h, say, table, there } from "./dom.js";

export function registriesView(place, parts, page) {
  const { body, element } = table("Registries", ["Registry", "Keys", "#Entries", "#Owners", "#Partitions", "#Locked", "#Restarts"]);
  place.append(h("h2.sr", {}, "Registries"), element);
  const show = filled(body, (all) => all.length ? all.map((each) => h("tr", {},
    h("th.path", { scope: "row" }, h("a", { href: there.registry(each.name), "data-key": each.name }, each.name)),
    h("td", {}, each.keys), h("td.num", {}, count(each.entries)), h("td.num", {}, count(each.owners)),
    h("td.num", {}, count(each.partitions)), h("td.num", {}, count(each.locked)), h("td.num", {}, count(each.restarts))))
    : [empty(7, "There are no registries.")]);
  return { title: "Registries", begin: () => page.look({}), update: (view) => show(Object.values(view.registries)) };
}

export function registryView(place, [name, number = "0", key = ""], page) {
  const at = Math.max(0, Math.floor(Number(number)) || 0);
  const { body, element } = table("Entries", ["Key", "Owner", "Value"]);
  const wanted = h("input", { type: "search", value: key, placeholder: "Key", "aria-label": "Key", "data-filter": true, spellcheck: "false", autocomplete: "off" });
  const ask = h("form.joined", {
    role: "search",
    onsubmit: (event) => {
      event.preventDefault();
      location.hash = there.registry(name, 0, wanted.value.trim());
    },
  }, wanted, h("button", {}, "Find"));
  const link = (text, to, rel) => h("a.button", { href: there.registry(name, to), rel }, text);
  const before = link("← Before", Math.max(0, at - 1), "prev");
  const next = link("Next →", at + 1, "next");
  const range = h("span.total");
  const figures = h("span.total");
  place.append(
    h("div.title", {}, h("h2.path", {}, h("a", { href: "#/registries" }, "registries"), " / ", h("strong", {}, name)), figures),
    h("div.tools", {}, ask, h("nav.pager", { "aria-label": "Pages" }, before, next), range), element);
  const show = filled(body, (rows) => rows.length ? rows.map((each) => h("tr", {},
    h("th.path", { scope: "row" }, each.key),
    h("td", {}, h("a", { href: there.process(`0.${/\d+\.(\d+)/.exec(each.pid)?.[1]}`) }, each.pid)),
    h("td.wide", {}, h("code", {}, each.value)))) : [empty(3, "There are no entries here.")]);
  return {
    title: name,
    begin: () => page.look({ registry: name, page: at, ...(key ? { key } : {}) }),
    update: (view) => {
      show(view.rows);
      before.hidden = at === 0 || key !== "";
      next.hidden = view.next === null;
      const first = view.page * view.size;
      say(range, key ? `${count(view.rows.length)} with this key` : view.rows.length ? `${count(first + 1)}–${count(first + view.rows.length)}` : "");
      if (view.figures) say(figures, `${count(view.figures.entries)} entries of ${count(view.figures.owners)} owners, ${view.figures.keys} keys`);
    },
  };
}
