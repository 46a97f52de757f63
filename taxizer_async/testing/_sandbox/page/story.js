/* What the events of a sandbox said, in a bounded size. Times are Unix seconds by the sandbox's clock; nothing is drawn here. */

import { duration, plural } from "./words.js";

const HOUR = 3600;
const MOST_MARKS = 1000;
const MOST_TOKENS = 200;
const MOST_CONDITIONS = 200;
/** Seconds within which changes of faults are one change, as an outage sets one at each place. */
const AT_ONCE = 0.1;
/** How many lines of text are kept. */
export const LINES = 5;

export const GROUPS = ["connect", "refresh", "resource"];
export const LATENCIES = ["connect_latency", "refresh_latency", "resource_latency"];
const FAULTS = {
  reset: "connection reset", hang: "no answer", truncate: "answer cut off",
  drop: "answer lost", edit: "answer changed", answer: "error answer",
};

function pushed(list, item, most) {
  list.push(item);
  if (list.length > most) list.shift();
}

/** Counts per second of the last hour, in a ring. */
class Seconds {
  #stamps = new Uint32Array(HOUR);
  #counts = { all: new Uint32Array(HOUR), refused: new Uint32Array(HOUR), failed: new Uint32Array(HOUR) };

  add(at, name) {
    const second = Math.floor(at), i = second % HOUR;
    if (this.#stamps[i] > second) return;
    if (this.#stamps[i] < second) {
      this.#stamps[i] = second;
      for (const counts of Object.values(this.#counts)) counts[i] = 0;
    }
    this.#counts[name][i] += 1;
  }

  sum(name, from, to) {
    let total = 0;
    for (let second = Math.max(from, to - HOUR); second < to; second++) {
      if (this.#stamps[second % HOUR] === second) total += this.#counts[name][second % HOUR];
    }
    return total;
  }
}

/** What has happened, as far as it can be shown. */
export class Story {
  seconds = new Seconds();
  marks = [];
  cuts = [];
  tokens = new Map();
  conditions = [];
  lines = [];
  #faults = new Map();
  #latencies = {};

  request(kind, event) {
    this.seconds.add(event.at, "all");
    if (kind === "unauthorized") {
      this.seconds.add(event.at, "refused");
      this.#line(event.at, `401 for ${event.token ? `token ${event.token}` : "an unknown token"}`);
    } else if (!event.ok && (event.status === null || event.status >= 500)) {
      this.seconds.add(event.at, "failed");
      if (kind === "request") this.#line(event.at, `${event.status ?? "No answer"} for ${event.path}`);
    }
    if (kind === "login" || kind === "renewal") this.#exchange(kind, event);
    if (event.fault) this.#use(kind, event);
  }

  #exchange(kind, event) {
    const name = kind === "login" ? "Login" : "Renewal";
    pushed(this.marks, { at: event.at, kind, ok: event.ok }, MOST_MARKS);
    if (event.ok && event.token) {
      this.#issue(event.token, event.at, event.ends_at);
      const life = event.ends_at ? `, for ${duration(event.ends_at - event.at)}` : "";
      this.#line(event.at, `${name}: token ${event.token}${life}`);
    } else {
      this.#line(event.at, `${name} failed: ${event.status ?? "no answer"}`);
    }
  }

  /** Learn of a token that was given before the first event that is known. */
  know({ number, issued_at, ends_at }) {
    if (!this.tokens.has(number)) this.#issue(number, issued_at, ends_at);
  }

  #issue(number, from, to) {
    this.tokens.set(number, { from, to: to ?? Infinity, cut: "" });
    if (this.tokens.size > MOST_TOKENS) this.tokens.delete(this.tokens.keys().next().value);
  }

  #end(at, cut) {
    for (const token of this.tokens.values()) {
      if (token.from <= at && token.to > at) Object.assign(token, { to: at, cut });
    }
    pushed(this.cuts, at, MOST_CONDITIONS);
  }

  control(kind, event) {
    const { at } = event;
    if (kind === "fail") {
      const label = event.code ? String(event.code) : FAULTS[event.fault];
      this.#faults.set(event.where, { label, times: event.times });
    } else if (kind === "heal") {
      if (event.where === null) this.#faults.clear();
      else this.#faults.delete(event.where);
    } else if (kind === "revoke") {
      if (event.tokens === "jwts") this.#end(at, "Revoked");
      this.#line(at, event.tokens === "jwts" ? "Revoked: all tokens" : "Revoked: all refresh tokens");
    } else if (kind === "expire") {
      this.#end(at + event.seconds, "Expired");
      this.#line(at, event.seconds ? `All tokens end in ${event.seconds} s` : "Expired: all tokens");
    } else if (kind === "setting") {
      if (LATENCIES.includes(event.name)) this.#latencies[event.name] = event.value;
      else this.#line(at, `Set ${event.name.replaceAll("_", " ")} to ${event.value}`);
    } else {
      this.#line(at, event.what === "counters" ? "Counters reset" : "Reset");
    }
    this.#condition(at);
  }

  missing(at, number) {
    this.#line(at, `${plural(number, "event")} not shown: this page was too slow`);
  }

  /** Take over what *state* says of faults and latencies; events have told the rest. */
  settle(state) {
    this.#faults = new Map(state.faults.map((fault) => [
      fault.where, { label: fault.kind === "answer" ? String(fault.code) : FAULTS[fault.kind], times: fault.times },
    ]));
    for (const name of LATENCIES) this.#latencies[name] = state.settings[name];
    this.#condition(state.at);
  }

  get condition() {
    const last = this.conditions.at(-1);
    return last && last.to === null ? last.label : "";
  }

  #use(kind, event) {
    const group = { login: "connect", renewal: "refresh" }[kind] ?? "resource";
    const where = this.#faults.has(event.path) ? event.path : group;
    const fault = this.#faults.get(where);
    if (!fault || fault.times === null) return;
    fault.times -= 1;
    if (fault.times === 0) this.#faults.delete(where);
    this.#condition(event.at);
  }

  #condition(at) {
    const labels = [...new Set([...this.#faults.values()].map((fault) => fault.label))].map((label) => {
      const places = [...this.#faults].filter(([, fault]) => fault.label === label).map(([where]) => where);
      return `${label} ${GROUPS.every((group) => places.includes(group)) ? "everywhere" : `at ${places.join(", ")}`}`;
    });
    const latency = Math.max(...Object.values(this.#latencies));
    if (latency >= 1) labels.push(`slow: ${latency} s`);
    const label = labels.join("; ");
    if (label === this.condition) return;
    const last = this.conditions.at(-1);
    if (label && this.condition && at - last.from < AT_ONCE) {
      last.label = label;
      if (this.lines[0]?.text.startsWith("Faults: ")) this.lines.shift();
    } else {
      if (this.condition) last.to = at;
      if (label) pushed(this.conditions, { from: at, to: null, label }, MOST_CONDITIONS);
    }
    this.#line(at, `Faults: ${label || "none"}`);
  }

  #line(at, text) {
    const last = this.lines[0];
    if (last && last.text === text) Object.assign(last, { at, times: last.times + 1 });
    else this.lines.unshift({ at, text, times: 1 });
    this.lines.length = Math.min(this.lines.length, LINES);
  }
}
