// The tree: only the rows that are seen are asked for and made, however many there are.

import { count, h, rate, say, span, state, there } from "./dom.js";

const SPARE = 20;
const COLUMNS = [
  ["name", "Process", "name"],
  ["state", "State", "state"],
  ["restarts", "Restarts", "num", "restarts"],
  ["mailbox", "Mailbox", "num", "mailbox"],
  ["rate", "Msg/s", "num"],
  ["uptime", "Uptime", "num", "uptime"],
  ["pid", "Pid", "pid"],
  ["module", "Class", "module"],
];
const STATES = ["running", "restarting", "backing_off", "down"];

// Of supervisors: those that are folded; with `folded` those that are not.
let turned = new Set();
let folded = false;
let kept = { sort: null, match: "", state: "" };

export function treeView(place, parts, page) {
  let data = { total: 0, offset: 0, order: [], rows: {} };
  let now = 0;
  let active = 0;
  let asked = [0, 0];
  let framed = false;
  const rows = new Map();
  const free = [];

  const match = h("input", {
    type: "search", placeholder: "Filter by path, name or class", "aria-label": "Filter by path, name or class",
    "data-filter": true, value: kept.match, spellcheck: "false", autocomplete: "off",
    oninput: () => turn({ match: match.value }),
  });
  const inState = h("select", { "aria-label": "Only those in the state", onchange: () => turn({ state: inState.value }) },
    h("option", { value: "" }, "any state"),
    ...STATES.map((word) => h("option", { value: word, selected: kept.state === word }, word.replace("_", " "))));
  const all = h("button", { type: "button", onclick: () => unfold(true) }, "Expand all");
  const none = h("button", { type: "button", onclick: () => unfold(false) }, "Collapse all");
  const total = h("span.total");
  const heads = COLUMNS.map(([key, text, kind, sort], index) =>
    h(`div.cell.${kind}`, { role: "columnheader", "aria-colindex": index + 1, "data-column": key },
      sort ? h("button.sort", { type: "button", "data-sort": sort, onclick: () => turn({ sort: kept.sort === sort ? null : sort }) }, text) : text));
  const spacer = h("div.spacer", { role: "presentation" });
  const body = h("div.body", { role: "rowgroup", "data-body": true, onscroll: frame }, spacer);
  const grid = h("div.grid", {
    role: "treegrid", tabindex: "0", "aria-label": "Processes", "aria-colcount": COLUMNS.length, onkeydown: pressed,
  }, h("div.heads", { role: "rowgroup" }, h("div.row", { role: "row", "aria-rowindex": 1 }, ...heads)), body);
  place.append(h("div.tools", {}, match, inState, none, all, total), grid);
  const watch = new ResizeObserver(frame);
  watch.observe(body);
  const height = () => parseFloat(getComputedStyle(grid).getPropertyValue("--row")) || 28;
  let rowHeight = height();

  const flat = () => kept.sort !== null || kept.match !== "" || kept.state !== "";

  function look() {
    const first = Math.max(0, Math.floor(body.scrollTop / rowHeight) - SPARE);
    const limit = Math.min(200, Math.ceil((body.clientHeight || innerHeight) / rowHeight) + 2 * SPARE);
    asked = [first, first + limit];
    const args = { offset: first, limit };
    if (kept.sort) args.sort = kept.sort;
    if (kept.match) args.match = kept.match;
    if (kept.state) args.state = kept.state;
    if (!flat() && (folded || turned.size)) Object.assign(args, { closed: [...turned].slice(-2000), all_but: folded });
    return page.look(args);
  }

  function turn(change) {
    kept = { ...kept, ...change };
    body.scrollTop = 0;
    active = 0;
    heads.forEach((head) => {
      const sort = head.firstChild.dataset?.sort;
      if (sort) head.setAttribute("aria-sort", kept.sort === sort ? (sort === "uptime" ? "ascending" : "descending") : "none");
    });
    none.disabled = all.disabled = flat();
    look();
  }

  function unfold(open) {
    turned = new Set();
    folded = !open;
    turn({});
  }

  function frame() {
    if (framed) return;
    framed = true;
    requestAnimationFrame(() => {
      framed = false;
      draw();
      const first = Math.floor(body.scrollTop / rowHeight);
      const last = Math.min(data.total, first + Math.ceil(body.clientHeight / rowHeight));
      if (first < asked[0] + (asked[0] && SPARE / 2) || last > asked[1] - (asked[1] < data.total && SPARE / 2)) look();
    });
  }

  function draw() {
    rowHeight = height();
    spacer.style.height = `${data.total * rowHeight}px`;
    const first = Math.max(0, Math.floor(body.scrollTop / rowHeight) - 5);
    const last = Math.min(data.total, first + Math.ceil(body.clientHeight / rowHeight) + 10);
    for (const [index, row] of rows) {
      if (index >= first && index < last && index >= data.offset && index < data.offset + data.order.length) continue;
      row.element.remove();
      free.push(row);
      rows.delete(index);
    }
    for (let index = Math.max(first, data.offset); index < Math.min(last, data.offset + data.order.length); index += 1) {
      let row = rows.get(index);
      if (!row) {
        row = free.pop() ?? newRow();
        rows.set(index, row);
        row.element.style.transform = `translateY(${index * rowHeight}px)`;
        row.element.setAttribute("aria-rowindex", index + 2);
        row.element.id = `row-${index}`;
        row.index = index;
        spacer.append(row.element);
      }
      fill(row, data.rows[data.order[index - data.offset]]);
    }
    mark();
  }

  function newRow() {
    const fold = h("span.fold", { "aria-hidden": "true" });
    const link = h("a", { tabindex: "-1" });
    const name = h("div.cell.name", { role: "gridcell" }, fold, link);
    const cells = Object.fromEntries(COLUMNS.map(([key, , kind], index) =>
      [key, key === "name" ? name : h(`div.cell.${kind}`, { role: "gridcell", "aria-colindex": index + 1 })]));
    name.setAttribute("aria-colindex", 1);
    const row = { fold, link, cells, state: null, index: 0, element: h("div.row", { role: "row" }, ...Object.values(cells)) };
    fold.addEventListener("click", () => toggle(row.index));
    row.element.addEventListener("mousedown", () => {
      active = row.index;
      mark();
    });
    return row;
  }

  function fill(row, told) {
    say(row.link, flat() ? told.path : told.id);
    row.link.setAttribute("href", there.process(told.path));
    row.element.dataset.path = told.path;
    row.element.dataset.kind = told.kind;
    row.element.style.setProperty("--depth", flat() ? 0 : told.depth);
    row.element.setAttribute("aria-level", told.depth + 1);
    const parent = told.kind === "supervisor" && !flat();
    if (parent) row.element.setAttribute("aria-expanded", String(!told.closed));
    else row.element.removeAttribute("aria-expanded");
    say(row.fold, parent ? (told.closed ? "▸" : "▾") : "");
    if (row.state !== told.state) {
      row.state = told.state;
      row.cells.state.replaceChildren(state(told.state));
    }
    say(row.cells.restarts, count(told.restarts));
    row.cells.restarts.classList.toggle("loud", told.restarts > 0);
    say(row.cells.mailbox, count(told.mailbox));
    row.cells.mailbox.classList.toggle("loud", told.mailbox > 10);
    say(row.cells.rate, rate(told.rate));
    say(row.cells.uptime, told.since === null ? "–" : span(now - told.since));
    say(row.cells.pid, (told.pid ?? "–").replace(/^<|>$/g, "").split(" ")[0]);
    say(row.cells.module, told.module === "Supervisor" ? (told.strategy ?? told.module) : (told.module ?? "–"));
  }

  function rowAt(index) {
    return data.rows[data.order[index - data.offset]];
  }

  function toggle(index, open) {
    const told = rowAt(index);
    if (!told || told.kind !== "supervisor" || flat()) return;
    const opens = open ?? told.closed;
    if (opens === folded) turned.add(told.path);
    else turned.delete(told.path);
    look();
  }

  function mark() {
    active = Math.max(0, Math.min(active, data.total - 1));
    for (const [index, row] of rows) row.element.classList.toggle("active", index === active);
    if (rows.has(active)) grid.setAttribute("aria-activedescendant", `row-${active}`);
    else grid.removeAttribute("aria-activedescendant");
  }

  function move(to) {
    active = Math.max(0, Math.min(to, data.total - 1));
    const top = active * rowHeight;
    if (top < body.scrollTop) body.scrollTop = top;
    else if (top + rowHeight > body.scrollTop + body.clientHeight) body.scrollTop = top + rowHeight - body.clientHeight;
    mark();
    frame();
  }

  function pressed(event) {
    if (event.target !== grid || event.ctrlKey || event.metaKey || event.altKey) return;
    const told = rowAt(active);
    const far = Math.max(1, Math.floor(body.clientHeight / rowHeight) - 1);
    const keys = {
      ArrowDown: () => move(active + 1),
      ArrowUp: () => move(active - 1),
      PageDown: () => move(active + far),
      PageUp: () => move(active - far),
      Home: () => move(0),
      End: () => move(data.total - 1),
      ArrowRight: () => (told?.closed ? toggle(active, true) : move(active + 1)),
      ArrowLeft: () => (told?.kind === "supervisor" && !told.closed && !flat() ? toggle(active, false) : move(aboveActive())),
      Enter: () => told && (location.hash = there.process(told.path)),
    };
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }

  function aboveActive() {
    const told = rowAt(active);
    for (let index = active - 1; told && index >= data.offset; index -= 1) {
      if (rowAt(index).depth < told.depth) return index;
    }
    return active;
  }

  return {
    title: "Tree",
    begin: () => {
      turn({});
      return 0;
    },
    update: (view, told) => {
      data = view;
      now = told.now;
      grid.setAttribute("aria-rowcount", data.total + 1);
      say(total, `${count(data.total)} ${data.total === 1 ? "row" : "rows"}`);
      draw();
      if (!performance.getEntriesByName("rows").length && data.order.length) performance.mark("rows");
    },
    leave: () => watch.disconnect(),
  };
}
