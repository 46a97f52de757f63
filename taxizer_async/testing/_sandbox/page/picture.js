/* Draws a story on a canvas, over the boxes of the elements with `data-track`. */

import { clockTime } from "./words.js";

/** The share of the time line that lies ahead of now. */
const AHEAD = 1 / 6;

export class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.measure();
  }

  measure() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.ratio = window.devicePixelRatio || 1;
    Object.assign(this.canvas, { width: Math.round(box.width * ratio), height: Math.round(box.height * ratio) });
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.width = box.width;
    this.height = box.height;
    this.lanes = {};
    for (const element of document.querySelectorAll("[data-track]")) {
      const lane = element.getBoundingClientRect();
      this.left = lane.left - box.left;
      this.lanes[element.dataset.track] = { top: lane.top - box.top, bottom: lane.bottom - box.top, middle: (lane.top + lane.bottom) / 2 - box.top };
    }
    const style = getComputedStyle(document.documentElement);
    this.color = {};
    for (const name of ["ground", "ink", "muted", "hair", "bar", "accent", "band"]) {
      this.color[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.font = `12px ${style.fontFamily}`;
  }

  /** Draw the last *span* seconds before *now*, which no longer moves if it has *stopped*. */
  draw(story, now, span, stopped) {
    Object.assign(this, { now, span, stopped, begin: now - span, scale: ((this.width - this.left) * (1 - AHEAD)) / span });
    this.pen.clearRect(0, 0, this.width, this.height);
    this.pen.save();
    this.pen.beginPath();
    this.pen.rect(this.left, 0, this.width - this.left, this.height);
    this.pen.clip();
    this.pen.font = this.font;
    this.pen.textBaseline = "middle";
    this.#grid();
    this.#conditions(story.conditions);
    this.#tokens(story.tokens);
    this.#bars(story.seconds);
    this.#cuts(story.cuts);
    this.#marks(story.marks);
    this.#line(this.x(now), 0, this.lanes.axis.top, stopped ? this.color.ink : this.color.accent, 1.5);
    this.pen.restore();
  }

  x(at) { return this.left + (at - this.begin) * this.scale; }

  /** Draw it on whole pixels of the screen, or it is a blur of two at some places. */
  #line(x, top, bottom, color, width = 1) {
    const middle = (Math.floor(x * this.ratio) + (Math.round(width * this.ratio) % 2) / 2) / this.ratio;
    Object.assign(this.pen, { strokeStyle: color, lineWidth: width });
    this.pen.beginPath();
    this.pen.moveTo(middle, top);
    this.pen.lineTo(middle, bottom);
    this.pen.stroke();
  }

  #text(text, x, y, color = this.color.muted) {
    this.pen.fillStyle = color;
    this.pen.fillText(text, x, y);
  }

  #grid() {
    const step = [10, 20, 60, 120, 300, 600, 1200].find((each) => each * this.scale >= 84) ?? 3600;
    const end = this.begin + (this.width - this.left) / this.scale;
    this.pen.textAlign = "center";
    for (let at = Math.ceil(this.begin / step) * step; at < end; at += step) {
      this.#line(this.x(at), 0, this.lanes.axis.top, this.color.hair);
      const [x, y] = [this.x(at), this.lanes.axis.middle];
      const fits = Math.abs(at - this.now) * this.scale > 60 && x > this.left + 28 && x < this.width - 28;
      if (fits) this.#text(clockTime(at).slice(0, this.span > 600 ? 5 : 8), x, y);
    }
    const [word, color] = this.stopped ? ["stopped", this.color.ink] : ["now", this.color.accent];
    this.#text(word, this.x(this.now), this.lanes.axis.middle, color);
    this.pen.textAlign = "left";
  }

  #conditions(conditions) {
    const { top, bottom, middle } = this.lanes.faults;
    for (const { from, to, label } of conditions) {
      const start = Math.max(this.left, this.x(from)), end = this.x(to ?? this.now);
      if (end <= this.left) continue;
      this.pen.fillStyle = this.color.band;
      this.pen.fillRect(start, top, end - start, this.lanes.axis.top - top);
      this.pen.fillStyle = this.color.ink;
      this.pen.fillRect(start, bottom - 5, Math.max(2, end - start), 3);
    }
    let free = this.left;
    for (const { from, to, label } of conditions) {
      const start = Math.max(this.left, this.x(from));
      if (start < free || this.x(to ?? this.now) <= this.left) continue;
      this.#text(label, start + 4, middle - 2, this.color.ink);
      free = start + this.pen.measureText(label).width + 12;
    }
  }

  #tokens(tokens) {
    const { top, bottom } = this.lanes.tokens;
    const height = (bottom - top - 14) / 2;
    for (const [number, { from, to, cut }] of tokens) {
      const start = Math.max(this.left - 8, this.x(from)), end = Math.min(this.width + 8, this.x(to));
      if (end <= this.left || start >= this.width) continue;
      const y = top + 5 + (number % 2) * (height + 4), lived = Math.min(end, this.x(this.now));
      const alive = to > this.now;
      // A gap keeps it apart from a token that lives on beside it.
      this.pen.fillStyle = this.color.ground;
      this.pen.fillRect(start - 2, y, 2, height);
      this.pen.fillStyle = alive ? this.color.accent : this.color.bar;
      this.pen.fillRect(start, y, Math.max(1, lived - start), height);
      if (alive) {
        this.pen.strokeStyle = this.color.accent;
        this.pen.lineWidth = 1;
        this.pen.strokeRect(lived, y + .5, end - lived - .5, height - 1);
      }
      if (cut && !alive) this.#cross(end, y + height / 2, 5);
      if (lived - start > 24) this.#text(number, start + 6, y + height / 2 + .5, this.color.ground);
    }
  }

  #bars(seconds) {
    const step = this.span / 60, first = Math.floor(this.begin / step) * step;
    const bars = [];
    for (let at = first; at <= this.now; at += step) {
      const [all, refused, failed] = ["all", "refused", "failed"].map((name) => seconds.sum(name, at, at + step) / step);
      bars.push({ at, all, refused, failed });
    }
    this.#lane(bars, this.lanes.requests, step, (bar) => bar.all, this.color.bar, (bar) => bar.failed);
    this.#lane(bars, this.lanes.refused, step, (bar) => bar.refused, this.color.ink, () => 0);
  }

  #lane(bars, { top, bottom }, step, value, color, hollow) {
    const most = Math.max(...bars.map(value)), scale = (bottom - top - 18) / Math.max(most, 4 / step);
    for (const bar of bars.filter(value)) {
      const width = Math.max(1, Math.min(step, this.now - bar.at) * this.scale - 2);
      const x = this.x(bar.at) + 1, full = Math.max(2, value(bar) * scale), empty = Math.min(full, hollow(bar) * scale);
      this.pen.fillStyle = color;
      this.pen.fillRect(x, bottom - full + empty, width, full - empty);
      if (empty) {
        Object.assign(this.pen, { strokeStyle: this.color.ink, lineWidth: 1 });
        this.pen.strokeRect(x + .5, bottom - full + .5, width - 1, empty - .5);
      }
    }
    if (most) {
      const peak = bars.findLast((bar) => value(bar) === most);
      const label = most < 10 ? String(Math.round(most * 10) / 10) : Math.round(most).toLocaleString("en");
      this.pen.textAlign = "center";
      this.#text(`${label}/s`, Math.max(this.left + 16, this.x(peak.at + step / 2)), top + 9);
      this.pen.textAlign = "left";
    }
  }

  #cuts(cuts) {
    this.pen.setLineDash([3, 3]);
    for (const at of cuts) if (at >= this.begin) this.#line(this.x(at), this.lanes.faults.top, this.lanes.axis.top, this.color.ink);
    this.pen.setLineDash([]);
  }

  #marks(marks) {
    let last = "";
    for (const { at, kind, ok } of marks) {
      if (at < this.begin) continue;
      const x = this.x(at), y = this.lanes[kind === "login" ? "logins" : "renewals"].middle;
      const place = `${kind}${ok}${Math.round(x)}`;
      if (place === last) continue;
      last = place;
      if (!ok) this.#cross(x, y, 5);
      else this.#dot(x, y, kind === "login" ? 0 : Math.PI / 4);
    }
  }

  #cross(x, y, r) {
    for (const [color, width] of [[this.color.ground, 5], [this.color.ink, 2]]) {
      Object.assign(this.pen, { strokeStyle: color, lineWidth: width });
      this.pen.beginPath();
      this.pen.moveTo(x - r, y - r);
      this.pen.lineTo(x + r, y + r);
      this.pen.moveTo(x + r, y - r);
      this.pen.lineTo(x - r, y + r);
      this.pen.stroke();
    }
  }

  #dot(x, y, diamond) {
    Object.assign(this.pen, { strokeStyle: this.color.ground, lineWidth: 2, fillStyle: this.color.accent });
    this.pen.beginPath();
    if (!diamond) this.pen.arc(x, y, 6, 0, 2 * Math.PI);
    else for (const [dx, dy] of [[0, -7], [7, 0], [0, 7], [-7, 0]]) this.pen.lineTo(x + dx, y + dy);
    this.pen.closePath();
    this.pen.stroke();
    this.pen.fill();
  }
}
