// What comes from the system: whole at first, then what has changed (see differences.py).

const TOKEN = location.pathname.split("/")[1];
const AGAIN = 2000;

function applied(before, change) {
  const after = { ...before, ...change.set };
  for (const [key, inner] of Object.entries(change.in ?? {})) after[key] = applied(before[key], inner);
  for (const key of change.gone ?? []) delete after[key];
  return after;
}

/** Sends JSON with the token in a header, which no page of somebody else could. */
export function post(address, told) {
  return fetch(address, {
    method: "POST",
    headers: { "content-type": "application/json", "x-resprout-token": TOKEN },
    body: JSON.stringify(told),
  });
}

/** The stream of this page: `look` says what of, `seen` is called with what there is, `lost` with why not. */
export class Stream {
  constructor(seen, lost) {
    this.seen = seen;
    this.lost = lost;
    this.number = 0;
    this.id = null;
    this.wanted = null;
    this.data = null;
    this.ended = false;
    this.sending = false;
    this.stale = false;
    addEventListener("pagehide", () => this.source?.close());
    addEventListener("pageshow", (event) => event.persisted && this.open());
  }

  look(wanted) {
    this.number += 1;
    this.wanted = { ...wanted, number: this.number };
    if (!this.source) this.open();
    else this.send();
    return this.number;
  }

  open() {
    clearTimeout(this.timer);
    this.source?.close();
    this.id = null;
    // The first look goes along, unless it is too long for an address.
    const look = encodeURIComponent(JSON.stringify(this.wanted));
    const along = look.length < 8000;
    const asked = along ? this.number : -1;
    const source = new EventSource(along ? `stream?look=${look}` : "stream");
    this.source = source;
    source.addEventListener("open", (event) => {
      if (event.data === undefined) return; // the connection's own
      this.id = JSON.parse(event.data).stream;
      this.ended = false;
      this.lost(null);
      if (this.number !== asked) this.send();
    });
    source.addEventListener("whole", (event) => this.take(JSON.parse(event.data)));
    source.addEventListener("change", (event) => this.take(applied(this.data, JSON.parse(event.data))));
    source.addEventListener("end", () => {
      this.ended = true;
      this.again("ended");
    });
    source.addEventListener("error", () => this.again(this.ended ? "ended" : "gone"));
  }

  again(why) {
    this.source?.close();
    this.id = null;
    this.lost(why);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), AGAIN);
  }

  take(data) {
    this.data = data;
    this.seen(data);
  }

  // One at a time: while one is on its way, only the last of those that come counts.
  async send() {
    if (this.id === null) return;
    if (this.sending) {
      this.stale = true;
      return;
    }
    this.sending = true;
    try {
      do {
        this.stale = false;
        await post(`look/${this.id}`, this.wanted);
      } while (this.stale && this.id !== null);
    } catch {
      // The stream is lost, too, and says so.
    } finally {
      this.sending = false;
    }
  }
}
