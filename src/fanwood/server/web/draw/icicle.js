// The icicle: all runs with the same tasks above them are one box, as wide as what they cost, or as many as they are.

import { count, percent, short, took } from "../core/format.js";
import { html, useMemo, useSignal, useState } from "../core/html.js";
import { ORDER, total } from "../core/states.js";
import { asTables, Canvas, colour, fitted, font, Twin } from "./canvas.js";

const ROW = 32;
const LEVELS = 7;

/** @typedef {{task: string, parent: number, counts: import("../core/states.js").Counts, busy?: number, folded?: number, depths?: number[]}} Path */
/** @typedef {"busy" | "runs" | "failed"} Measure */
/** @typedef {{index: number, x: number, width: number, level: number, value: number}} Box x and width: of 1 */

/** @type {Record<Measure, (path: Path) => number>} */
const MEASURES = {
  busy: (path) => path.busy ?? 0,
  runs: (path) => total(path.counts),
  failed: (path) => path.counts.failed ?? 0,
};

/** Where each path lies. A path is as wide as itself and all below it. @param {Path[]} paths @param {Measure} measure @returns {Box[]} */
export function layout(paths, measure) {
  const whole = paths.map(MEASURES[measure]);
  for (let at = paths.length - 1; at > 0; at -= 1) if (paths[at].parent >= 0) whole[paths[at].parent] += whole[at];
  const all = paths.reduce((sum, path, at) => sum + (path.parent < 0 ? whole[at] : 0), 0);
  const used = paths.map(() => 0);
  /** @type {(Box | undefined)[]} */
  const boxes = [];
  let roots = 0;
  paths.forEach((path, index) => {
    const above = path.parent < 0 ? null : boxes[path.parent];
    if (!whole[index] || !all || above === undefined) return;
    const width = whole[index] / all;
    boxes[index] = { index, x: above ? above.x + used[path.parent] : roots, width, level: above ? above.level + 1 : 0, value: whole[index] };
    if (above) used[path.parent] += width;
    else roots += width;
  });
  return boxes.filter((box) => box !== undefined);
}

/** @param {Path} path @param {Box} box @param {Measure} measure */
function inWords(path, box, measure) {
  const size = measure === "busy" ? `${took(box.value)} busy` : `${count(box.value)} ${measure === "runs" ? "runs" : "failed"}`;
  const folded = (path.folded ?? 0) > 1 ? `, ${path.folded} levels deep` : "";
  const failed = path.counts.failed ? `, ${count(path.counts.failed)} failed` : "";
  return `${path.task}${folded}: ${percent(box.width)}, ${size}; ${count(total(path.counts))} of its own${failed}`;
}

/** @param {{paths: Path[], measure: Measure, chosen?: number | null, onChoose: (index: number | null) => void}} props */
export function Icicle({ paths, measure, chosen = null, onChoose }) {
  const tables = useSignal(asTables);
  const boxes = useMemo(() => layout(paths, measure), [paths, measure]);
  const [at, setAt] = useState(-1);
  const [hot, setHot] = useState(-1);
  if (tables) return html`<${PathTable} paths=${paths} />`;
  if (!boxes.length) return html`<p class="quiet pad">${measure === "failed" ? "Nothing failed." : "Nothing has taken any time yet."}</p>`;
  const levels = Math.min(LEVELS, Math.max(...boxes.map((box) => box.level)) + 1);
  const shown = boxes.find((box) => box.index === (hot >= 0 ? hot : boxes[at]?.index));
  const find = (/** @type {any} */ event) => {
    const [x, level] = [event.px / event.box, Math.floor(event.py / ROW)];
    return boxes.find((box) => box.level === level && x >= box.x && x < box.x + box.width);
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const to = step(event.key, boxes, at);
    if (event.key === "Enter" && boxes[at]) onChoose(boxes[at].index);
    else if (event.key === "Escape") onChoose(null);
    else if (to === null) return;
    else setAt(to);
    event.preventDefault();
    event.stopPropagation();
  };
  const pointer = {
    move: (/** @type {any} */ event) => setHot(find(event)?.index ?? -1),
    leave: () => setHot(-1),
    up(/** @type {any} */ event) {
      const found = find(event);
      if (found) onChoose(found.index === chosen ? null : found.index);
    },
  };
  const marked = { chosen, hot, at: boxes[at]?.index ?? -1 };
  return html`<div class="canvas-box">
      <${Canvas} height=${levels * ROW} label="Paths of tasks. Arrows move, Enter filters, Escape shows all" at=${at} last=${boxes.length - 1}
        said=${boxes[at] ? inWords(paths[boxes[at].index], boxes[at], measure) : "nothing chosen"} onKey=${onKey} pointer=${pointer}
        paint=${(context, width) => boxes.forEach((box) => paint(context, width, paths[box.index], box, marked, measure))} />
    </div>
    <p class="readout below" aria-hidden="true">${shown ? inWords(paths[shown.index], shown, measure) : html`<${Depths} paths=${paths} />`}</p>`;
}

/** What is folded, in a line. @param {{paths: Path[]}} props */
function Depths({ paths }) {
  const folded = paths.filter((path) => (path.folded ?? 0) > 1).slice(0, 3);
  return html`${folded.map((path) => html`<span key=${path.task}>${path.task} ×${path.folded} deep ${sparks(path.depths ?? [])}</span>`)}`;
}

/** @param {number[]} counts */
function sparks(counts) {
  const most = Math.max(1, ...counts);
  return counts.slice(0, 24).map((each) => "▁▂▃▄▅▆▇█"[Math.min(7, Math.floor((each / most) * 7.99))]).join("");
}

/** @param {Path[]} paths @param {Path} path @returns {string} */
export const way = (paths, path) => tasksOf(paths, path).join(" / ");
/** From the root down. @param {Path[]} paths @param {Path} path @returns {string[]} */
export const tasksOf = (paths, path) => [...(path.parent < 0 ? [] : tasksOf(paths, paths[path.parent])), path.task];

/** @param {{paths: Path[]}} props */
function PathTable({ paths }) {
  const rows = paths.map((path) => [way(paths, path), count(total(path.counts)), count(path.counts.failed), took(path.busy ?? 0)]);
  return html`<${Twin} caption="Paths of tasks" head=${["Path", "runs", "failed", "busy"]} rows=${rows} />`;
}

/** @param {string} key @param {Box[]} boxes @param {number} at @returns {number | null} */
function step(key, boxes, at) {
  if (at < 0) return key.startsWith("Arrow") ? 0 : null;
  const here = boxes[at];
  const within = (/** @type {Box} */ outer, /** @type {Box} */ inner) => inner.x >= outer.x - 1e-9 && inner.x < outer.x + outer.width;
  const found = {
    ArrowDown: () => boxes.findIndex((box) => box.level === here.level + 1 && within(here, box)),
    ArrowUp: () => boxes.findIndex((box) => box.level === here.level - 1 && within(box, here)),
    ArrowRight: () => boxes.findIndex((box) => box.level === here.level && box.x > here.x),
    ArrowLeft: () => boxes.findLastIndex((box) => box.level === here.level && box.x < here.x),
    Home: () => 0,
  }[key]?.();
  return found === undefined ? null : found < 0 ? at : found;
}

/**
 * @param {CanvasRenderingContext2D} context @param {number} width @param {Path} path @param {Box} box
 * @param {{chosen: number | null, hot: number, at: number}} marked @param {Measure} measure
 */
function paint(context, width, path, box, marked, measure) {
  if (box.level >= LEVELS) return;
  const [x, y] = [box.x * width, box.level * ROW];
  const wide = Math.max(1, box.width * width - 1);
  context.fillStyle = colour(box.index === marked.hot || box.index === marked.chosen ? "path-2" : "path");
  context.fillRect(x, y, wide, ROW - 1);
  let left = x;
  for (const state of ORDER) {
    const share = ((path.counts[state] ?? 0) / total(path.counts)) * wide;
    if (!share) continue;
    const part = Math.min(state === "failed" ? Math.max(2, share) : share, x + wide - left);
    context.fillStyle = colour(state);
    context.fillRect(left, y + ROW - 4, part, 3);
    left += part;
  }
  if (box.index === marked.chosen || box.index === marked.at) {
    context.strokeStyle = colour("focus");
    context.lineWidth = 2;
    context.strokeRect(x + 1, y + 1, wide - 2, ROW - 3);
  }
  label(context, path, box, x, y + 14, wide, measure);
}

/** @param {CanvasRenderingContext2D} context @param {Path} path @param {Box} box @param {number} x @param {number} y @param {number} wide @param {Measure} measure */
function label(context, path, box, x, y, wide, measure) {
  const room = wide - 16;
  if (room < 20) return;
  context.textBaseline = "middle";
  context.textAlign = "left";
  context.font = font(12, 500);
  context.fillStyle = colour("ink");
  const name = fitted(context, (path.folded ?? 0) > 1 ? `${path.task} ×${path.folded}` : path.task, room);
  context.fillText(name, x + 8, y);
  const used = context.measureText(name).width;
  const figure = measure === "busy" ? percent(box.width) : short(box.value);
  context.font = font(11);
  if (used + context.measureText(figure).width + 12 > room) return;
  context.fillStyle = colour("ink-2");
  context.textAlign = "right";
  context.fillText(figure, x + wide - 8, y);
}
