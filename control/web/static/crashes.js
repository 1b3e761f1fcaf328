// The crashes of late, those of a kind as one, the last one first.

import { clock, count, filled, h, say, there } from "./dom.js";
import { trace } from "./trace.js";

export function crashesView(place, parts, page) {
  const list = h("ol.kinds", { "aria-label": "Crashes" });
  const none = h("p.quiet", { hidden: true }, "Nothing has crashed.");
  place.append(h("h2.sr", {}, "Crashes"), none, list);
  const kinds = new Map();

  function made(number) {
    const times = h("span.times");
    const reason = h("span.reason");
    const who = h("span.who");
    const when = h("span.when");
    const inside = h("div.inside");
    const element = h("li", {}, h("details", { "data-number": number }, h("summary", {}, times, reason, who, when), inside));
    const show = filled(inside, (it) => [
      h("dl.facts", {},
        ...[["process", it.path ? h("a", { href: there.process(it.path) }, it.path) : it.pid], ["class", it.module],
          ["first", clock(it.first)], ["last", clock(it.last)], ["last message", h("code", {}, it.last_message)], ["state then", h("code", {}, it.state)]]
          .map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)))),
      trace(it.trace)]);
    return { element, update: (it) => {
      say(times, `${count(it.count)}×`);
      say(reason, it.reason.split("\n")[0]);
      say(who, it.path ?? it.module);
      say(when, clock(it.last));
      show(it);
    } };
  }

  return {
    title: "Crashes",
    begin: () => page.look({}),
    update: (view) => {
      const all = Object.values(view.crashes).sort((a, b) => b.last - a.last || b.number - a.number);
      none.hidden = all.length > 0;
      for (const [number, kind] of kinds) {
        if (number in view.crashes) continue;
        kind.element.remove();
        kinds.delete(number);
      }
      all.forEach((it, index) => {
        const number = String(it.number);
        if (!kinds.has(number)) kinds.set(number, made(number));
        const kind = kinds.get(number);
        kind.update(it);
        if (list.children[index] !== kind.element) list.insertBefore(kind.element, list.children[index] ?? null);
      });
    },
  };
}
