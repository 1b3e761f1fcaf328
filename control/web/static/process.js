// One process: what it is, what it does this moment, whom it knows, what it last died of.

import { button } from "./act.js";
import { clock, count, empty, filled, h, rate, say, span, state, table, there } from "./dom.js";
import { trace } from "./trace.js";

const person = (text) => /^<?0\.(\d+)/.exec(text);

function pids(all) {
  if (!all?.length) return ["none"];
  return all.flatMap((text, index) => {
    const link = h("a", { href: there.process(`0.${person(text)?.[1] ?? text}`) }, text);
    return index ? [", ", link] : [link];
  });
}

// A long record is its first line, which opens.
function message({ message, exception }) {
  const [first, ...rest] = [message, exception].filter((text) => text).join("\n").split("\n");
  return rest.length ? h("details", {}, h("summary", {}, first), h("pre", {}, rest.join("\n"))) : first;
}

function crumbs(path) {
  const parts = path === "/" ? [] : path.split("/");
  const above = parts.slice(0, -1).map((part, index) =>
    h("span", {}, h("a", { href: there.process(parts.slice(0, index + 1).join("/")) }, part), " / "));
  return [h("a", { href: there.process("/") }, "tree"), parts.length ? " / " : "", ...above,
    h("strong", {}, parts.at(-1) ?? "")];
}

export function processView(place, [word = "/"], page) {
  let told = null;
  const path = h("h2.path");
  const where = h("span");
  const actions = h("div.actions", { role: "group", "aria-label": "Actions" });
  const facts = h("dl.facts");
  const server = h("pre", { tabindex: "0", "aria-label": "State" });
  const stack = h("div");
  const links = h("dl.facts.links");
  const crash = h("section.crash", { hidden: true });
  const log = table("Log records", ["Time", "Level", "Logger", "Message"]);
  place.append(
    h("div.title", {}, path, where, actions),
    h("div.columns", {},
      h("section", {}, h("h3", {}, "Process"), facts, h("h3", {}, "Links and monitors"), links),
      h("section", {}, h("h3", {}, "State"), server, h("h3", {}, "Stack"), stack)),
    crash,
    h("section", {}, h("h3", {}, "Log records of late"), log.element));

  const me = () => ({ process: told?.path ?? word });
  const question = (title, text) => () => ({ title: `${title} ${told?.path}?`, text });
  const BUTTONS = {
    restart: () => button("Restart", "restart", me, {
      question: question("Restart", "It is stopped in order, within its shutdown time, and started again with what it was started with."),
      done: (it) => `${it.path} restarted as ${it.pid}`,
    }),
    terminate: () => button("Terminate", "terminate", me, {
      danger: true,
      question: question("Terminate", "It is stopped in order, and stays down until somebody starts it."),
      done: (it) => `${it.path} terminated`,
    }),
    start: () => button("Start", "start", me, { done: (it) => `${it.path} started as ${it.pid}` }),
    suspend: () => button("Suspend", "suspend", me, { done: (it) => `${it.path} leaves its messages alone` }),
    resume: () => button("Resume", "resume", me, { done: (it) => `${it.path} goes on` }),
  };
  const showPath = filled(path, crumbs);
  const showWhere = filled(where, (word) => [state(word)]);
  const showActions = filled(actions, (names) => names.map((name) => BUTTONS[name]()));
  const showFacts = filled(facts, (pairs) => pairs.map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", { "data-fact": name }, value))));
  const showLinks = filled(links, (it) => [
    ["parent", it.parent ? [it.parent] : []], ["links", it.links], ["monitors", it.monitors], ["monitored by", it.monitored_by],
  ].map(([name, all]) => h("div", {}, h("dt", {}, name), h("dd", {}, ...pids(all)))));
  const showStack = filled(stack, (lines) => [lines?.length ? trace(lines) : h("p.quiet", {}, "No code of it runs this moment.")]);
  const showCrash = filled(crash, (last) => last ? [
    h("h3", {}, `Last crash, at ${clock(last.last)}`),
    h("p.reason", {}, last.reason),
    h("dl.facts", {}, h("div", {}, h("dt", {}, "last message"), h("dd", {}, h("code", {}, last.last_message))),
      h("div", {}, h("dt", {}, "state then"), h("dd", {}, h("code", {}, last.state)))),
    trace(last.trace)] : []);
  const showLog = filled(log.body, (records) => records.length
    ? records.map((each) => h("tr", { "data-level": each.level }, h("td.num", {}, clock(each.time)), h("td", {}, each.level),
      h("td", {}, each.logger), h("td.wide", {}, message(each))))
    : [empty(4, "It has logged nothing.")]);

  function can() {
    if (!page.acts()) return [];
    const names = [];
    if (told.in_tree && told.path !== "/") names.push(...(told.state === "running" ? ["restart", "terminate"] : ["start"]));
    if (told.process === "server") names.push(told.status === "suspended" ? "resume" : "suspend");
    return names;
  }

  function facing(it, now) {
    const found = {
      pid: it.pid, name: it.name, class: it.module, kind: it.kind, strategy: it.strategy,
      children: it.children === null ? null : count(it.children), restart: it.restart, restarts: count(it.restarts),
      uptime: it.since === null ? null : span(now - it.since), mailbox: it.mailbox === null ? null : count(it.mailbox),
      handled: it.handled === null || it.handled === undefined ? null : `${count(it.handled)} ${it.handled === 1 ? "message" : "messages"}, ${rate(it.rate)}/s`,
      "at work": it.busy === undefined ? null : it.busy ? "yes" : "no", "traps exits": it.trap_exit === undefined ? null : it.trap_exit ? "yes" : "no",
      "in function": it.function, owns: it.owned?.length ? it.owned.join(", ") : null,
      "started by": it.spec?.start, shutdown: it.spec ? (typeof it.spec.shutdown === "number" ? `${it.spec.shutdown} s` : it.spec.shutdown) : null,
    };
    return Object.entries(found).filter(([, value]) => value !== null && value !== undefined && value !== "");
  }

  return {
    title: word,
    begin: () => page.look({ process: word }),
    update: (it, all) => {
      told = it;
      showPath(it.path);
      showWhere(it.status === "suspended" ? "suspended" : it.state);
      showActions(can());
      showFacts(facing(it, all.now));
      showLinks({ parent: it.parent, links: it.links, monitors: it.monitors, monitored_by: it.monitored_by });
      const text = it.server_state ?? (it.server_state_error ? `not known: ${it.server_state_error}` : "It does not run.");
      say(server, text);
      server.classList.toggle("quiet", !it.server_state);
      showStack(it.stack);
      crash.hidden = !it.last_crash;
      showCrash(it.last_crash);
      showLog(Object.values(it.logs).reverse());
    },
  };
}
