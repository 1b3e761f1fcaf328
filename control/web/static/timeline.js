// Starts upwards and crashes downwards, a bar for some seconds each, and the last of them one by one.

import { clock, count, empty, filled, h, s, say, table, there } from "./dom.js";

const HEIGHT = 160;
const MIDDLE = 96;
const SPANS = { "2 min": 120, "5 min": 300, "15 min": 900 };
const SIGNS = { started: "▲", restarted: "↻", stopped: "○", crashed: "✕", "gave up": "✕✕" };

let span = 300;

export function timelineView(place, parts, page) {
  const picture = s("svg", { viewBox: `0 0 640 ${HEIGHT}`, class: "plot timeline", role: "img", "aria-label": "Starts and crashes" });
  const legend = h("dl.legend");
  const choice = h("fieldset.choice", {}, h("legend.sr", {}, "How far back"), ...Object.entries(SPANS).map(([text, seconds]) =>
    h("label", {}, h("input", { type: "radio", name: "span", value: seconds, checked: seconds === span, onchange: () => {
      span = seconds;
      if (last) draw(last);
    } }), text)));
  const { body, element } = table("Starts, ends and crashes, the last first", ["Time", "What", "Process", "Why"]);
  place.append(h("h2.sr", {}, "Timeline"), h("div.tools", {}, choice, legend), h("figure", {}, picture), element);
  let last = null;

  const showLegend = filled(legend, (starts, crashes) => [["starts", starts, "one"], ["crashes", crashes, "bad"]].map(([term, number, kind]) =>
    h("div", { "data-kind": kind }, h("dt", {}, term), h("dd", { "data-fact": term }, count(number)))));
  const show = filled(body, (events) => events.length ? events.map(([number, each]) => h("tr", { "data-what": each.what },
    h("td.num", {}, clock(each.at)), h("td.what", {}, h("span.sign", { "aria-hidden": "true" }, SIGNS[each.what] ?? "·"), each.what),
    h("td.path", {}, h("a", { href: there.process(each.path), "data-key": number }, each.path)), h("td.wide", {}, each.why)))
    : [empty(4, "Nothing has been started or has crashed in the last 15 minutes.")]);

  function draw(view) {
    const now = Math.floor(Date.now() / 1e3);
    const across = picture.clientWidth || 640;
    picture.setAttribute("viewBox", `0 0 ${across} ${HEIGHT}`);
    const bins = across < 500 ? 30 : 60;
    const step = span / bins;
    const wide = across / bins;
    const bars = Array.from({ length: bins }, () => [0, 0]);
    for (const [second, [starts, crashes]] of Object.entries(view.seconds)) {
      const index = bins - 1 - Math.floor((now - Number(second)) / step);
      if (index < 0 || index >= bins) continue;
      bars[index][0] += starts;
      bars[index][1] += crashes;
    }
    // By the root: one start is seen beside a thousand.
    const most = Math.max(1, ...bars.flat());
    const height = (number, room) => (number ? Math.max(3, room * Math.sqrt(number / most)) : 0);
    const made = [s("line", { class: "rule", x1: 0, x2: across, y1: MIDDLE, y2: MIDDLE })];
    bars.forEach(([starts, crashes], index) => {
      const up = height(starts, MIDDLE - 12);
      const down = height(crashes, HEIGHT - MIDDLE - 22);
      const box = { x: index * wide + 1, width: wide - 2, rx: 1.5 };
      if (up) made.push(s("rect", { ...box, class: "bar one", y: MIDDLE - 1 - up, height: up }, s("title", {}, `${starts} started`)));
      if (down) made.push(s("rect", { ...box, class: "bar bad", y: MIDDLE + 1, height: down }, s("title", {}, `${crashes} crashed`)));
    });
    for (const share of [0, 0.5, 1]) {
      const ago = span * (1 - share);
      made.push(s("text", { class: "tick", x: across * share, y: HEIGHT - 3, "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle" },
        ago === 0 ? "now" : `−${ago >= 120 ? `${ago / 60} min` : `${ago} s`}`));
    }
    picture.replaceChildren(...made);
    const sum = (index) => bars.reduce((total, bar) => total + bar[index], 0);
    const words = `Starts and crashes: ${sum(0)} starts and ${sum(1)} crashes in the last ${span / 60} minutes`;
    if (picture.getAttribute("aria-label") !== words) picture.setAttribute("aria-label", words);
    showLegend(sum(0), sum(1));
  }

  // It moves on though nothing happens.
  const moves = setInterval(() => last && draw(last), 1000);
  return {
    title: "Timeline",
    begin: () => page.look({}),
    update: (view) => {
      last = view;
      draw(view);
      show(Object.entries(view.events).sort((a, b) => b[0] - a[0]));
    },
    leave: () => clearInterval(moves),
  };
}
