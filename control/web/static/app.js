// The page around the views: which one is shown, the head with the figures, and what is said when the system is gone.

import { button } from "./act.js";
import { count, filled, h, say, span, state, there } from "./dom.js";
import { Stream } from "./stream.js";
import { know } from "./trace.js";
import { treeView } from "./tree.js";

const main = document.getElementById("main");
const lost = document.getElementById("lost");
const figures = document.getElementById("figures");

const VIEWS = {
  tree: async () => treeView,
  process: async () => (await import("./process.js")).processView,
  locks: async () => (await import("./locks.js")).locksView,
  lock: async () => (await import("./locks.js")).lockView,
  registries: async () => (await import("./registries.js")).registriesView,
  registry: async () => (await import("./registries.js")).registryView,
  crashes: async () => (await import("./crashes.js")).crashesView,
  timeline: async () => (await import("./timeline.js")).timelineView,
};
const ABOVE = { process: "tree", lock: "locks", registry: "registries" };

let view = null;
let started = null;
let crashes = null;
let announced = 0;

const stream = new Stream(seen, (why) => {
  document.body.classList.toggle("is-lost", why !== null);
  lost.hidden = why === null;
  if (why === "ended") say(lost, "✕ The system has ended. What is shown is how it was; the page goes on when it runs again.");
  if (why === "gone") say(lost, "✕ The system does not answer: it has died, or its page was closed. Trying again …");
});

const shownFigures = ["children", "restarts", "crashes", "up"].map((name) => {
  const value = h("dd");
  figures.append(h("div", {}, h("dt", {}, name), value));
  return [name, value];
});

function seen(data) {
  if (view === null || data.look < view.first) return;
  const system = data.system;
  say(document.getElementById("name"), system.name);
  if (started !== system.state) {
    started = system.state;
    document.getElementById("state").replaceWith(Object.assign(state(system.state), { id: "state" }));
  }
  const told = {
    children: `${count(system.counts.running)} / ${count(system.counts.children)}`,
    restarts: count(system.counts.restarts),
    crashes: count(system.crashes),
    up: span(Date.now() / 1e3 - system.since),
  };
  for (const [name, value] of shownFigures) say(value, told[name]);
  figures.dataset.trouble = String(system.counts.running < system.counts.children);
  document.getElementById("stop").hidden = !system.actions;
  announce(system);
  know(system.libraries);
  if (data.refused) view.refuse(data.refused);
  else view.update(data.view, data);
  document.body.dataset.look = data.look;
}

// New crashes are told of, but not each of many.
function announce(system) {
  if (crashes === null || system.crashes < crashes) crashes = system.crashes;
  const more = system.crashes - crashes;
  if (more === 0 || Date.now() - announced < 10_000) return;
  say(document.getElementById("heard"), `${more === 1 ? "A process has crashed" : `${count(more)} crashes`}, ${count(system.crashes)} in all`);
  announced = Date.now();
  crashes = system.crashes;
}

async function go() {
  const [, name = "tree", ...parts] = location.hash.split("/");
  const known = name in VIEWS ? name : "tree";
  const make = await VIEWS[known]();
  if (location.hash.split("/")[1] !== name && location.hash.split("/")[1] !== undefined) return; // gone elsewhere
  view?.leave?.();
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash === `#/${ABOVE[known] ?? known}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const place = h(`div.view.${known}`);
  const refusal = h("p.refused", { hidden: true });
  const showRefusal = filled(refusal, (message, meant) =>
    [message, ...meant.flatMap((path) => [" ", h("a", { href: there.process(path), "data-key": path }, path)])]);
  const made = make(place, parts.map(decodeURIComponent), {
    look: (args) => stream.look({ view: known, ...args }),
    acts: () => stream.data?.system?.actions ?? false,
  });
  const coming = view !== null;
  main.replaceChildren(refusal, place);
  view = {
    first: 0,
    leave: made.leave,
    update: (data, all) => {
      refusal.hidden = true;
      place.hidden = false;
      made.update(data, all);
    },
    refuse: ({ message, meant }) => {
      refusal.hidden = false;
      place.hidden = true;
      showRefusal(message, known === "process" ? meant : []);
    },
  };
  view.first = made.begin();
  document.title = `${made.title} · resprout`;
  // Whoever does not see the page is taken along.
  if (coming) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

document.getElementById("stop").replaceWith(Object.assign(
  button("Stop system", "stop", () => ({}), {
    danger: true,
    question: () => ({ title: "Stop the whole system?", text: "Every child is stopped in order. This page ends with it." }),
    done: () => "The system stops",
  }), { id: "stop", hidden: true }));

addEventListener("hashchange", go);
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, select, dialog")) {
    const filter = document.querySelector("[data-filter]");
    if (filter) {
      event.preventDefault();
      filter.focus();
    }
  }
});
go();
