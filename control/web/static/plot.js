// Lines over time: drawn anew with each point, in SVG, told apart by dashes as well as by colour.

import { s } from "./dom.js";

const HEIGHT = 180;
const LEFT = 52;
const BOTTOM = 18;
const TOP = 8;

/** A round number not below another one: 1, 2 or 4 times a power of ten. */
function above(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 10].map((each) => each * power).find((each) => each >= value * 0.999);
}

/** A plot into which `draw(series, options)` draws. Series: `{name, kind, points: [[time, value or null]]}`. */
export function plot(label) {
  const picture = s("svg", { viewBox: `0 0 640 ${HEIGHT}`, class: "plot", role: "img", "aria-label": label });

  function draw(series, { seconds, now, ceiling, tell, words }) {
    const values = series.flatMap((each) => each.points.map(([, value]) => value)).filter((value) => value !== null);
    const top = above(Math.max(ceiling ?? 0, ...values, 0));
    const wide = picture.clientWidth || 640;
    picture.setAttribute("viewBox", `0 0 ${wide} ${HEIGHT}`);
    const x = (time) => LEFT + (wide - LEFT) * (1 - (now - time) / seconds);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      parts.push(s("line", { class: "rule", x1: LEFT, x2: wide, y1: y(top * share), y2: y(top * share) }));
      parts.push(s("text", { class: "tick", x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end" }, tell(top * share)));
    }
    for (const ago of [seconds, seconds / 2, 0]) {
      const anchor = ago === 0 ? "end" : ago === seconds ? "start" : "middle";
      parts.push(s("text", { class: "tick", x: x(now - ago), y: HEIGHT - 4, "text-anchor": anchor }, ago ? `−${ago} s` : "now"));
    }
    if (ceiling) parts.push(s("line", { class: "ceiling", x1: LEFT, x2: wide, y1: y(ceiling), y2: y(ceiling) }));
    for (const { kind, points } of series) {
      let path = "";
      let pen = false;
      for (const [time, value] of points) {
        if (time < now - seconds || value === null) {
          pen = pen && value !== null;
          continue;
        }
        path += `${pen ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
        if (!pen) path += "h.01"; // a single point is seen, too
        pen = true;
      }
      parts.push(s("path", { class: `line ${kind}`, d: path }));
    }
    picture.replaceChildren(...parts);
    if (words && picture.getAttribute("aria-label") !== words) picture.setAttribute("aria-label", words);
  }

  return { picture, draw };
}
