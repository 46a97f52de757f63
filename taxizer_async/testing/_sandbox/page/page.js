/* The live page of a sandbox: listens to its events, says and draws the story, and drives the sandbox with five buttons. */

import { Picture } from "./picture.js";
import { GROUPS, LATENCIES, LINES, Story } from "./story.js";
import { clockTime, duration, plural } from "./words.js";

/** Seconds that an answer takes while the sandbox is slow. */
const SLOW = 2;
/** Seconds between two summaries for screen readers. */
const DIGEST = 15;

const byId = (id) => document.getElementById(id);
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };

/** What the page shows now; the sandbox tells it, and nothing is guessed while it does not answer. */
class Page {
  story = new Story();
  state = null;
  span = 60;
  #picture = new Picture(byId("canvas"));
  #skew = 0;
  #frozen = null;
  #run = null;
  #seen = 0;
  #pending = null;
  #drawn = 0;
  #digested = 0;
  #told = null;
  #latencies = { connect_latency: 0, refresh_latency: 0, resource_latency: 0 };

  get now() { return this.#frozen ?? Date.now() / 1000 + this.#skew; }

  connect() {
    const source = new EventSource("/_sandbox/events");
    const on = (kind, take) => source.addEventListener(kind, (message) => take(JSON.parse(message.data), message));
    on("state", (state) => this.take(state));
    on("dropped", ({ events }) => this.story.missing(this.now, events));
    for (const kind of ["login", "renewal", "unauthorized", "request"]) {
      on(kind, (event, message) => this.#new(message) && this.story.request(kind, event));
    }
    for (const kind of ["fail", "heal", "revoke", "expire", "setting", "reset"]) {
      on(kind, (event, message) => this.#new(message) && this.story.control(kind, event));
    }
    source.addEventListener("error", () => {
      this.#lose();
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.connect(), 2000);
    });
  }

  #new(message) {
    const number = Number(message.lastEventId.split("-").at(-1));
    if (number <= this.#seen) return false;
    this.#seen = number;
    return true;
  }

  #lose() {
    if (this.#frozen !== null) return;
    this.#frozen = this.now;
    this.#connection("lost", "Not connected, trying again");
    if (this.state) this.say(`The sandbox has not answered since ${clockTime(this.now)}.`);
  }

  #connection(state, words) {
    byId("connection").dataset.state = state;
    put(byId("connection").querySelector("b"), words);
    this.#drawn = 0;
  }

  take(state) {
    const restarted = this.#run !== null && this.#run !== state.run;
    if (restarted) {
      this.story = new Story();
      this.#seen = 0;
      this.#told = null;
      this.say("The sandbox was started anew, and so is the time line.");
    } else if (this.#frozen !== null && this.state) {
      this.say("Connected again.");
    }
    this.#run = state.run;
    this.#frozen = null;
    this.#skew = state.at - Date.now() / 1000;
    this.#connection("live", "Live");
    this.state = state;
    if (state.token) this.story.know(state.token);
    this.#pending = state;
    this.#settle();
    this.tick();
  }

  /** Believe the state's faults once the events before it have come. */
  #settle() {
    const last = this.#pending?.last_event_id;
    if (!this.#pending || (last && Number(last.split("-").at(-1)) > this.#seen)) return;
    this.story.settle(this.#pending);
    this.#pending = null;
  }

  say(words) { put(byId("note"), words); }

  /** Renew the words; a few times per second, and only those that changed. */
  tick() {
    this.#settle();
    const { state, story } = this;
    if (!state) return;
    const { counters, settings } = state;
    this.#life(state);
    put(byId("faults"), story.condition || "none");
    put(byId("tokens"), state.token ? `${state.token.number.toLocaleString("en")} issued` : "none yet");
    put(byId("logins"), counts(counters.connects_ok, counters.connects));
    put(byId("renewals"), counts(counters.refreshes_ok, counters.refreshes));
    put(byId("refused"), counters.unauthorized.toLocaleString("en"));
    put(byId("rate"), `${(this.#frozen === null ? state.requests_per_second : 0).toLocaleString("en")} per second`);
    byId("outage").setAttribute("aria-pressed", isOut(state));
    byId("slow").setAttribute("aria-pressed", isSlow(settings));
    const empty = state.token === null && counters.exchanges + counters.resources === 0;
    byId("empty").hidden = !empty;
    byId("summary").hidden = empty;
    put(byId("summary"), this.#summary(this.span));
    this.#latest();
    this.#digest();
  }

  #life({ token }) {
    const left = token ? token.ends_at - this.now : 0;
    const lives = token !== null && token.good && left > 0;
    const cut = token && this.story.tokens.get(token.number)?.cut;
    const name = token ? `Token ${token.number.toLocaleString("en")}` : "Token";
    put(byId("token-heading"), lives ? `${name} ends in` : name);
    put(byId("life"), lives ? duration(left) : token === null ? "None" : cut || (left > 0 ? "Revoked" : "Ended"));
    put(byId("life-detail"), token ? `issued at ${clockTime(token.issued_at)}` : "Nobody has logged in yet.");
  }

  #summary(span) {
    const to = Math.floor(this.now) + 1, from = to - span;
    const within = (kind, ok) => this.story.marks.filter((mark) => mark.at >= from && mark.kind === kind && mark.ok === ok).length;
    const words = { 60: "minute", 600: "ten minutes", 3600: "hour" }[span];
    const parts = [["login", "login"], ["renewal", "renewal"]].map(([kind, noun]) => {
      const failed = within(kind, false);
      return plural(within(kind, true), noun) + (failed ? ` (${failed} failed)` : "");
    });
    const [all, refused, failed] = ["all", "refused", "failed"].map((name) => this.story.seconds.sum(name, from, to));
    parts.push(plural(all, "request"));
    return `In the last ${words}: ${parts.join(", ")}; ${plural(refused, "request")} met a 401, ${failed.toLocaleString("en")} failed. ` +
      `Faults now: ${this.story.condition || "none"}.`;
  }

  #latest() {
    byId("news").hidden = this.story.lines.length === 0;
    const list = byId("latest");
    while (list.children.length < LINES) list.append(makeLine());
    this.story.lines.concat(Array(LINES).fill(null)).slice(0, LINES).forEach((line, i) => {
      const [time, text] = list.children[i].children;
      list.children[i].hidden = !line;
      put(time, line ? clockTime(line.at) : "");
      put(text, line ? line.text + (line.times > 1 ? ` ×${line.times.toLocaleString("en")}` : "") : "");
    });
  }

  /** Tell screen readers, now and then, what is new. */
  #digest() {
    if (this.now - this.#digested < DIGEST) return;
    const { connects, refreshes, unauthorized } = this.state.counters;
    const news = [connects, refreshes, unauthorized, this.story.condition].join();
    if (this.#told !== null && news !== this.#told) put(byId("digest"), this.#summary(60));
    this.#told = news;
    this.#digested = this.now;
  }

  redraw() {
    this.#picture.measure();
    this.#drawn = 0;
  }

  /** Draw if the line has moved by a pixel, or, for those who want no motion, once a second. */
  frame(still) {
    const apart = still ? 1 : Math.min(.25, 1 / (this.#picture.scale * devicePixelRatio || 1));
    if (this.state && Math.abs(this.now - this.#drawn) >= apart) {
      this.#picture.draw(this.story, this.now, this.span, this.#frozen !== null);
      this.#drawn = this.now;
    }
  }

  async send(method, path, body, done) {
    try {
      const answer = await fetch(`/_sandbox/${path}`, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      const content = await answer.json();
      if (!answer.ok) return this.say(`Refused: ${content.detail ?? content.title}`);
      this.take(content);
      this.say(done);
    } catch {
      this.say("The sandbox does not answer.");
    }
  }

  outage() {
    if (isOut(this.state)) return this.send("POST", "heal", {}, "The outage is over.");
    return this.send("POST", "fail", { kind: "answer", code: 503 }, "Outage: every answer is 503.");
  }

  slow() {
    const { settings } = this.state;
    if (isSlow(settings)) return this.send("PATCH", "settings", this.#latencies, "Answers come at once again.");
    this.#latencies = Object.fromEntries(LATENCIES.map((name) => [name, settings[name]]));
    return this.send("PATCH", "settings", Object.fromEntries(LATENCIES.map((name) => [name, SLOW])), `Slow: every answer takes ${SLOW} s.`);
  }
}

const counts = (ok, all) => ok.toLocaleString("en") + (all > ok ? `, ${(all - ok).toLocaleString("en")} failed` : "");
const isSlow = (settings) => LATENCIES.every((name) => settings[name] >= SLOW);
const isOut = (state) => GROUPS.every((group) => state.faults.some(
  (fault) => fault.where === group && fault.kind === "answer" && fault.code === 503 && fault.times === null,
));

function makeLine() {
  const line = document.createElement("li");
  line.append(document.createElement("time"), document.createElement("span"));
  return line;
}

const page = new Page();
const still = matchMedia("(prefers-reduced-motion: reduce)");
const PRESSED = {
  revoke: () => page.send("POST", "revoke", {}, "Revoked: requests with a token from before get a 401."),
  expire: () => page.send("POST", "expire", {}, "Expired: all tokens have ended."),
  outage: () => page.outage(),
  slow: () => page.slow(),
  reset: () => page.send("POST", "reset", {}, "Reset: no fault, first settings, counters 0. Tokens stay good."),
};
for (const [id, press] of Object.entries(PRESSED)) byId(id).addEventListener("click", () => page.state && press());
for (const input of document.querySelectorAll("[name=span]")) {
  input.addEventListener("change", () => { page.span = Number(input.value); page.redraw(); page.tick(); });
}
put(byId("address"), location.host);
put(byId("export"), `export TAXIZER_BASE_URL=${location.origin}`);
new ResizeObserver(() => page.redraw()).observe(byId("line"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => page.redraw());
setInterval(() => page.tick(), 250);
(function frame() {
  page.frame(still.matches);
  requestAnimationFrame(frame);
})();
page.connect();
