// The strip: ended runs by bins of time, stacked by state, and how many were under way.

import { clock, count, rate, took } from "../core/format.js";
import { html, useMemo, useRef, useSignal, useState } from "../core/html.js";
import { asTables, Canvas, colour, font, moved, Twin } from "./canvas.js";
import { timeAxis } from "./axis.js";

const HEIGHT = 132;
const FEET = 24;
const HEAD = 16;
const MOST_ROWS = 120; // of the table
const SERIES = ["completed", "failed", "cancelled", "running"];

/** @typedef {{start: number, width: number, completed?: number[], failed?: number[], cancelled?: number[], running?: number[]}} StripData */
/** @typedef {{start: number, completed: number, failed: number, cancelled: number, running: number}} Bin */

/** @param {StripData} strip @returns {Bin[]} */
export function bins(strip) {
  const size = Math.max(0, ...SERIES.map((name) => strip[name]?.length ?? 0));
  return Array.from({ length: size }, (_, at) => ({
    start: strip.start + at * strip.width,
    completed: strip.completed?.[at] ?? 0,
    failed: strip.failed?.[at] ?? 0,
    cancelled: strip.cancelled?.[at] ?? 0,
    running: strip.running?.[at] ?? 0,
  }));
}

const sum = (/** @type {Bin} */ bin) => bin.completed + bin.failed + bin.cancelled;
const binOf = (/** @type {StripData} */ strip, /** @type {number} */ time) => Math.floor((time - strip.start) / strip.width);

/** @param {Bin} bin @param {number} width */
export const inWords = (bin, width) =>
  `${clock(bin.start, width < 1e6)} for ${took(width)}: ${count(bin.completed)} done, ${count(bin.failed)} failed` +
  `${bin.cancelled ? `, ${count(bin.cancelled)} cancelled` : ""}${bin.running ? `, ${count(bin.running)} running` : ""}`;

/**
 * @param {{strip: StripData, since?: number | null, until?: number | null, onWindow: (since: number | null, until: number | null) => void}} props
 * since, until: the window that everything else shows
 */
export function Strip({ strip, since = null, until = null, onWindow }) {
  const tables = useSignal(asTables);
  const all = useMemo(() => bins(strip), [strip]);
  const [at, setAt] = useState(-1);
  const [drag, setDrag] = useState(/** @type {[number, number] | null} */ (null));
  const from = useRef(-1);
  if (!all.length) return null;
  const end = strip.start + all.length * strip.width;
  const chosen = drag ?? (since || until ? [binOf(strip, since ?? strip.start), binOf(strip, (until ?? end) - 1)] : null);
  const here = at >= 0 && at < all.length ? all[at] : null;
  if (tables) return html`<${StripTable} all=${all} width=${strip.width} />`;
  const choose = (/** @type {number} */ a, /** @type {number} */ b) =>
    onWindow(Math.round(strip.start + Math.min(a, b) * strip.width), Math.round(strip.start + (Math.max(a, b) + 1) * strip.width));
  const binAt = (/** @type {any} */ event) => Math.max(0, Math.min(all.length - 1, Math.floor((event.px / event.box) * all.length)));
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const to = moved(event, at, all.length);
    if (to !== null) {
      setDrag(event.shiftKey ? [drag ? drag[0] : Math.max(0, at), to] : null);
      setAt(to);
    } else if (event.key === "Enter" && at >= 0) {
      choose(...(drag ?? /** @type {[number, number]} */ ([at, at])));
      setDrag(null);
    } else if (event.key === "Escape") {
      setDrag(null);
      onWindow(null, null);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const pointer = {
    down(/** @type {any} */ event) {
      from.current = binAt(event);
      event.target.setPointerCapture?.(event.pointerId);
    },
    move(/** @type {any} */ event) {
      const to = binAt(event);
      setAt(to);
      if (from.current >= 0 && to !== from.current) setDrag([from.current, to]);
    },
    up(/** @type {any} */ event) {
      if (from.current < 0) return;
      const to = binAt(event);
      if (chosen && !drag && to >= chosen[0] && to <= chosen[1]) onWindow(null, null);
      else choose(from.current, to);
      from.current = -1;
      setDrag(null);
    },
    leave: () => from.current < 0 && setAt(-1),
  };
  return html`<p class="readout" aria-hidden="true">${here ? inWords(here, strip.width) : html`<${StripKey} all=${all} />`}</p>
    <div class="canvas-box">
      <${Canvas} height=${HEIGHT} label="Ended runs over time. Arrows move, Shift marks, Enter filters, Escape shows all"
        at=${at} last=${all.length - 1} said=${here ? inWords(here, strip.width) : "nothing chosen"} onKey=${onKey} pointer=${pointer}
        paint=${(context, width, height) => paint(context, width, height, strip, all, at, chosen)} />
    </div>`;
}

/** @param {{all: Bin[]}} props */
function StripKey({ all }) {
  const names = { completed: "done", failed: "failed", cancelled: "cancelled", running: "running" };
  return html`${SERIES.filter((name) => all.some((bin) => bin[name])).map((name) => html`<span key=${name} class=${`key key-${name}`}>${names[name]}</span>`)}`;
}

/** Two bins in one. @param {Bin} a @param {Bin | undefined} b @returns {Bin} */
const joined = (a, b) =>
  b ? { start: a.start, completed: a.completed + b.completed, failed: a.failed + b.failed, cancelled: a.cancelled + b.cancelled, running: b.running } : a;

/** @param {{all: Bin[], width: number}} props */
function StripTable({ all: given, width: fine }) {
  const [all, width] = given.length > MOST_ROWS ? [given.flatMap((bin, at) => (at % 2 ? [] : [joined(bin, given[at + 1])])), fine * 2] : [given, fine];
  const rows = all
    .filter((bin) => sum(bin) || bin.running)
    .map((bin) => [clock(bin.start, width < 1e6), count(bin.completed), count(bin.failed), count(bin.cancelled), count(bin.running)]);
  return html`<${Twin} caption="Ended runs by time" head=${["Time", "done", "failed", "cancelled", "running"]} rows=${rows} />`;
}

/**
 * @param {CanvasRenderingContext2D} context @param {number} width @param {number} height @param {StripData} strip
 * @param {Bin[]} all @param {number} at @param {number[] | null} chosen
 */
function paint(context, width, height, strip, all, at, chosen) {
  const floor = height - FEET;
  const wide = width / all.length;
  const most = Math.max(1, ...all.map(sum));
  timeAxis(context, width, floor, strip.start, strip.start + all.length * strip.width, HEAD);
  all.forEach((bin, index) => stack(context, bin, index * wide, wide, floor, (floor - HEAD) / most));
  runningLine(context, all, wide, floor);
  context.fillStyle = colour("line-strong");
  context.fillRect(0, floor, width, 1);
  if (chosen) {
    const [a, b] = [Math.min(...chosen) * wide, (Math.max(...chosen) + 1) * wide];
    context.fillStyle = colour("select");
    context.fillRect(a, HEAD, b - a, floor - HEAD);
    context.fillStyle = colour("focus");
    context.fillRect(a, HEAD, 1.5, floor - HEAD);
    context.fillRect(b - 1.5, HEAD, 1.5, floor - HEAD);
  }
  context.fillStyle = colour("ink-3");
  if (at >= 0) context.fillRect(Math.round((at + 0.5) * wide), HEAD, 1, floor - HEAD);
  context.font = font(11);
  context.textAlign = "left";
  context.textBaseline = "top";
  if (all.some(sum)) context.fillText(`${rate(most / (strip.width / 1e6))} at most`, 0, 2);
}

/** @param {CanvasRenderingContext2D} context @param {Bin} bin @param {number} x @param {number} wide @param {number} floor @param {number} scale */
function stack(context, bin, x, wide, floor, scale) {
  let y = floor;
  const [left, right] = wide > 12 ? [x, x + wide - 1] : [Math.floor(x), Math.ceil(x + wide)];
  for (const state of ["completed", "cancelled", "failed"]) {
    if (!bin[state]) continue;
    const tall = Math.max(state === "failed" ? 1.5 : 0.75, bin[state] * scale);
    context.fillStyle = colour(state);
    context.fillRect(left, y - tall, right - left, tall);
    y -= tall;
  }
}

/** @param {CanvasRenderingContext2D} context @param {Bin[]} all @param {number} wide @param {number} floor */
function runningLine(context, all, wide, floor) {
  const most = Math.max(...all.map((bin) => bin.running));
  if (!most) return;
  context.strokeStyle = colour("running");
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.beginPath();
  all.forEach((bin, index) => context[index ? "lineTo" : "moveTo"]((index + 0.5) * wide, floor - 1 - (bin.running / most) * (floor - HEAD) * 0.42));
  context.stroke();
}
