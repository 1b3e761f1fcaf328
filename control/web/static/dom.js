// Makes elements, and writes numbers and times as people read them.

/** An element: its tag with classes (`td.num`), properties and attributes, and what is in it. */
export function h(what, given = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** The same in SVG. */
export function s(tag, given = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Changes a text only where it differs: what is selected or read aloud stays. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A function that fills an element anew, but only when what it is filled from has changed. */
export function filled(element, fill) {
  let before;
  return (...values) => {
    const now = JSON.stringify(values);
    if (now === before) return;
    before = now;
    const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    element.replaceChildren(...fill(...values));
    if (focused !== undefined) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  };
}

const SIGNS = { running: "●", restarting: "↻", backing_off: "◔", down: "○", suspended: "❙❙", starting: "◌", ended: "✕", paused: "❙❙" };

/** A state by its colour, a sign and its word. */
export function state(word) {
  return h("span.state", { "data-state": word }, h("span.sign", { "aria-hidden": "true" }, SIGNS[word] ?? "·"),
    h("span.word", {}, (word ?? "").replace("_", " ")));
}

export function count(number) {
  return number === null || number === undefined ? "–" : number.toLocaleString("en");
}

export function rate(number) {
  if (number === null || number === undefined) return "–";
  return number >= 100 ? count(Math.round(number)) : number === 0 ? "0" : number.toFixed(1);
}

/** Seconds as a time of two parts: 3d 4h, 5m 06s, 12s. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(0, Math.floor(seconds));
  const pad = (number) => String(number).padStart(2, "0");
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${pad(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${pad(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d ${pad(Math.floor((whole % 86400) / 3600))}h`;
}

/** A duration of a wait or a hold, in its own unit. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds >= 10) return `${seconds.toFixed(1)} s`;
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  if (seconds >= 0.001) return `${(seconds * 1e3).toPrecision(3)} ms`;
  return `${(seconds * 1e6).toPrecision(2)} µs`;
}

export function clock(seconds) {
  return new Date(seconds * 1e3).toLocaleTimeString("en-GB");
}

export const there = {
  process: (path) => `#/process/${encodeURIComponent(path)}`,
  lock: (name) => `#/lock/${encodeURIComponent(name)}`,
  registry: (name, page = 0, key = "") =>
    `#/registry/${encodeURIComponent(name)}/${page}${key ? `/${encodeURIComponent(key)}` : ""}`,
};

/** A table with these heads; a head that begins with # is of numbers. */
export function table(label, heads) {
  const body = h("tbody");
  const head = h("thead", {}, h("tr", {}, ...heads.map((each) =>
    h(each.startsWith("#") ? "th.num" : "th", { scope: "col" }, each.replace(/^#/, "")))));
  return { body, element: h("div.scrolls", { tabindex: "0", role: "region", "aria-label": label },
    h("table", {}, h("caption.sr", {}, label), head, body)) };
}

export function empty(columns, text) {
  return h("tr", {}, h("td.empty", { colspan: columns }, text));
}
