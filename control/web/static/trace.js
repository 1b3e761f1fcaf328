// A traceback with the frames of libraries folded: what is one's own stands out.

import { h } from "./dom.js";

let libraries = [];

/** Has it known where the code lies that is not the program's own. */
export function know(paths) {
  libraries = paths;
}

const isLibrary = (file) => file.startsWith("<frozen ") || libraries.some((path) => file.startsWith(path));

/** The lines as elements: runs of library frames are one line that opens. */
export function trace(lines) {
  const parts = [];
  for (const line of lines) {
    const frame = /^ {2}File "(.*)", line (\d+), in (.*)$/.exec(line);
    if (frame) parts.push({ library: isLibrary(frame[1]), frames: 1, lines: [line] });
    else if (line.startsWith("    ") && parts.length && parts.at(-1).frames) parts.at(-1).lines.push(line);
    else parts.push({ library: false, frames: 0, lines: [line] });
  }
  const made = h("div.trace");
  for (let index = 0; index < parts.length; ) {
    const run = [];
    while (index < parts.length && parts[index].library) run.push(parts[index++]);
    if (run.length) {
      const word = run.length === 1 ? "1 frame of a library" : `${run.length} frames of libraries`;
      made.append(h("details", {}, h("summary", {}, word), h("pre", {}, run.flatMap((each) => each.lines).join("\n"))));
    } else {
      const part = parts[index++];
      made.append(h(part.frames ? "pre.own" : "pre.error", {}, part.lines.join("\n")));
    }
  }
  return made;
}
