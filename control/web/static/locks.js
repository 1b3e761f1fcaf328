// The locks, and one of them: who holds it, who waits, and how it went of late.

import { button, tell } from "./act.js";
import { count, duration, empty, filled, h, rate, say, state, table, there } from "./dom.js";
import { plot } from "./plot.js";

function meter(used, slots) {
  const bar = h("span.meter", { role: "img", "aria-label": `${used} of ${slots} slots in use` }, h("span.fill"));
  bar.firstChild.style.width = `${Math.min(100, (100 * used) / slots)}%`;
  bar.dataset.full = String(used >= slots);
  return bar;
}

export function locksView(place, parts, page) {
  const { body, element } = table("Locks", ["Lock", "Slots", "#In use", "#Waiting", "#Longest wait", "Fairness", "Kept by"]);
  place.append(h("h2.sr", {}, "Locks"), element);
  const show = filled(body, (locks) => locks.length ? locks.map((each) => h("tr", {},
    h("th.path", { scope: "row" }, h("a", { href: there.lock(each.name), "data-key": each.name }, each.name)),
    h("td", {}, each.paused ? state("paused") : meter(each.used, each.num_slots)),
    h("td.num", {}, `${count(each.used)} / ${count(each.num_slots)}`),
    h("td.num", {}, count(each.waiting)), h("td.num", {}, duration(each.longest)),
    h("td", {}, each.fairness), h("td", {}, each.engine ?? "this process")))
    : [empty(7, "There are no locks.")]);
  return { title: "Locks", begin: () => page.look({}), update: (view) => show(Object.values(view.locks)) };
}

const SECONDS = 120;

function people(label, heads, what) {
  const made = table(label, heads);
  return { element: made.element, show: filled(made.body, (all) => all.length ? all.map((each) => h("tr", {},
    h("td.path", {}, h("a", { href: there.process(each.path ?? `0.${/\d+\.(\d+)/.exec(each.pid)?.[1]}`), "data-key": each.pid }, each.path ?? each.pid)),
    h("td.num", {}, count(each.weight)), h("td.num", {}, what(each)), h("td.num", {}, duration(each.seconds))))
    : [empty(4, `No ${label.toLowerCase()}.`)]) };
}

export function lockView(place, [name], page) {
  let told = null;
  const where = h("span");
  const facts = h("dl.facts.wraps");
  const actions = h("div.actions", { role: "group", "aria-label": "Actions" });
  const busy = plot("Running and waiting");
  const times = plot("Wait and hold times");
  const legend = h("dl.legend");
  const holders = people("Holders", ["Holder", "#Slots", "#Token", "#For"], (each) => count(each.token));
  const waiters = people("Waiters", ["Waiter", "#Slots", "#Priority", "#For"], (each) => count(each.priority));
  const figures = table("The plots as numbers", ["#Seconds ago", "#Running", "#Waiting", "#Grants", "#Mean wait", "#Longest wait", "#Mean hold", "#Longest hold"]);
  const numbers = h("details", {}, h("summary", {}, "The plots as numbers"), figures.element);
  place.append(
    h("div.title", {}, h("h2.path", {}, h("a", { href: "#/locks" }, "locks"), " / ", h("strong", {}, name)), where, actions), facts,
    h("div.columns", {},
      h("figure", {}, h("figcaption", {}, "Running and waiting"), busy.picture),
      h("figure", {}, h("figcaption", {}, "Wait and hold times"), times.picture)),
    legend, numbers,
    h("div.columns", {},
      h("section", {}, h("h3", {}, "Holders"), holders.element), h("section", {}, h("h3", {}, "Waiters"), waiters.element)));

  const pair = ([term, value, kind]) => h("div", { "data-kind": kind }, h("dt", {}, term), h("dd", { "data-fact": term }, value));
  const showFacts = filled(facts, (pairs) => pairs.map(pair));
  const showLegend = filled(legend, (pairs) => pairs.map(pair));
  const showWhere = filled(where, (paused) => [paused ? state("paused") : ""]);
  const slots = h("input", { type: "number", min: 1, "aria-label": "Slots", "data-key": "slots" });
  const showSlots = filled(slots, (number) => {
    slots.value = number;
    return [];
  });
  const showActions = filled(actions, (acts, paused) => {
    if (!acts) return [];
    const number = () => {
      const wanted = Number(slots.value);
      if (Number.isInteger(wanted) && wanted >= 1) return { lock: name, num_slots: wanted };
      tell(`expected a whole number of slots from 1 on, got: ${slots.value}`, true);
      return null;
    };
    const pause = button(paused ? "Resume" : "Pause", "pause", () => ({ lock: name, off: paused }), {
      done: (it) => (it.paused ? `${it.name} lets nobody in` : `${it.name} goes on`),
    });
    return [pause, h("span.joined", {}, slots, button("Resize", "resize", number, { done: (it) => `${it.name} has ${it.num_slots} slots` }))];
  });
  const showNumbers = filled(figures.body, (points, now) => points.slice(-20).reverse().map((it) => h("tr", {},
    ...[(now - it[0]).toFixed(1), count(it[1]), count(it[2]), count(it[3]), ...[4, 5, 7, 8].map((index) => duration(it[index]))].map((text) => h("td.num", {}, text)))));

  return {
    title: name,
    begin: () => page.look({ lock: name }),
    update: (it, { now }) => {
      told = it;
      const points = Object.entries(it.points).sort((a, b) => a[0] - b[0]).map(([, point]) => point);
      const last = points.at(-1) ?? [now, 0, 0, 0, null, null, 0, null, null];
      const before = points.at(-2);
      const line = (name, kind, index) => ({ name, kind, points: points.map((point) => [point[0], point[index]]) });
      const scale = { seconds: SECONDS, now: last[0] };
      busy.draw([line("running", "one", 1), line("waiting", "two", 2)], { ...scale, ceiling: it.num_slots, tell: (value) => count(Math.round(value * 10) / 10),
        words: `Running and waiting: ${it.running} of ${it.num_slots} slots run, ${it.waiting} wait` });
      times.draw([line("mean wait", "two", 4), line("mean hold", "one", 7)], { ...scale, tell: (value) => (value ? duration(value) : "0"),
        words: `Wait and hold times: mean wait ${duration(last[4])}, mean hold ${duration(last[7])}` });
      showLegend([
        ["running", count(it.running), "one"], ["waiting", count(it.waiting), "two"],
        ["grants a second", before ? rate(last[3] / (last[0] - before[0])) : "–"],
        ["mean hold", duration(last[7]), "one"], ["mean wait", duration(last[4]), "two"],
        ["longest hold", duration(last[8])], ["longest wait", duration(last[5])],
      ]);
      showWhere(it.paused);
      showFacts([["slots", count(it.num_slots)], ["in use", count(it.used)], ["fairness", it.fairness],
        ["may wait", it.max_waiting === null ? "any number" : count(it.max_waiting)], ["kept by", it.engine ?? "this process"]]);
      showActions(page.acts(), it.paused);
      showSlots(it.num_slots);
      if (numbers.open) showNumbers(points, last[0]);
      holders.show(it.holders);
      waiters.show(it.waiters);
    },
  };
}
