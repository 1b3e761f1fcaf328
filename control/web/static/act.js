// What the page does to the system: asks first where something would be lost, and says what came of it.

import { h, say } from "./dom.js";
import { post } from "./stream.js";

const dialog = document.getElementById("dialog");
const said = document.getElementById("said");
let quiet;

/** Tells something at the foot of the page, aloud to whoever listens. */
export function tell(text, wrong = false) {
  clearTimeout(quiet);
  said.classList.toggle("wrong", wrong);
  say(said, text);
  quiet = setTimeout(() => say(said, ""), 8000);
}

function asked(question, what) {
  return new Promise((resolve) => {
    dialog.replaceChildren(
      h("h2", { id: "question" }, question.title),
      h("p", {}, question.text),
      h("form", { method: "dialog" },
        h("button", { value: "no", autofocus: true }, "Cancel"),
        h("button.danger", { value: "yes" }, what)),
    );
    dialog.returnValue = "no";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });
}

async function act(what, args, question, done) {
  if (question && !(await asked(question, what.label))) return;
  tell(`${what.label} …`);
  try {
    const answer = await post(`act/${what.do}`, args);
    const told = await answer.json();
    if (answer.ok) tell(done(told));
    else tell(told.message, true);
  } catch {
    tell(`${what.label}: the system does not answer`, true);
  }
}

/** A button that acts; `args` gives what with, or null for not now. */
export function button(label, name, args, { question, done, danger } = {}) {
  const what = { do: name, label };
  return h(danger ? "button.danger" : "button", {
    type: "button",
    "data-key": `act-${name}`,
    "data-act": name,
    onclick: () => {
      const given = args();
      if (given !== null) act(what, given, question?.(), done ?? (() => `${label}: done`));
    },
  }, label);
}
