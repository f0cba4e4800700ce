// How long runs of a task took: classes by half powers of two, all tasks of a tree on one scale.

import { count, many, took } from "../core/format.js";
import { html, useMemo, useSignal, useState } from "../core/html.js";
import { total } from "../core/states.js";
import { asTables, Canvas, colour, moved, Twin } from "./canvas.js";
import { bound, classText } from "./axis.js";

const HEIGHT = 24;

/** @typedef {{task: string, counts: any, took?: {first?: number, counts?: number[]}, p50?: number, p95?: number, p99?: number, slowest?: number, busy?: number, serving?: number}} TaskData */

/** The classes that any of them has. @param {TaskData[]} tasks @returns {[number, number]} */
export function scale(tasks) {
  const filled = tasks.filter((task) => task.took?.counts?.length);
  if (!filled.length) return [0, 1];
  const first = Math.min(...filled.map((task) => task.took?.first ?? 0));
  return [first, Math.max(first + 8, ...filled.map((task) => (task.took?.first ?? 0) + (task.took?.counts?.length ?? 0)))];
}

/** Percentiles are bounds of classes: no more than the longest took. @param {TaskData} task @returns {TaskData} */
function capped(task) {
  const cap = (/** @type {number | undefined} */ value) => (value && task.slowest ? Math.min(value, task.slowest) : value);
  return { ...task, p50: cap(task.p50), p95: cap(task.p95), p99: cap(task.p99) };
}

/** Tasks of a tree, with how long they took. @param {{tasks: TaskData[], most?: number, chosen?: string | null, to: (task: string) => string}} props */
export function Durations({ tasks: given, most = 5, chosen, to }) {
  const tasks = useMemo(() => given.map(capped), [given]);
  const tables = useSignal(asTables);
  const [open, setOpen] = useState(false);
  const sorted = tasks.toSorted((a, b) => Number(Boolean(b.p50)) - Number(Boolean(a.p50)) || total(b.counts) - total(a.counts));
  const [first, end] = scale(tasks);
  if (tables) return html`<${Twin} caption="Durations of tasks" head=${["Task", "runs", "p50", "p95", "max"]}
    rows=${sorted.map((task) => [task.task, count(total(task.counts)), took(task.p50), took(task.p95), took(task.slowest)])} />`;
  return html`<ul class="durations">
      ${sorted.slice(0, open ? 60 : most).map(
        (task) => html`<li key=${task.task}>
          <a class="cut" href=${to(task.task)} aria-current=${chosen === task.task ? "true" : null} title=${task.task}>${task.task}</a>
          <span class="num soft">${took(task.p50) || "–"}</span><span class="num soft">${took(task.p95) || "–"}</span><span class="num soft">${took(task.slowest) || "–"}</span>
          ${task.took?.counts?.length ? html`<${Histogram} task=${task} first=${first} end=${end} />` : null}
        </li>`,
      )}
    </ul>
    ${tasks.some((task) => task.took?.counts?.length) && html`<p class="scale" aria-hidden="true"><span>${took(bound(first))}</span><span>${took(bound((first + end) / 2))}</span><span>${took(bound(end))}</span></p>`}
    ${sorted.length > most && html`<button class="link-button quiet" onClick=${() => setOpen(!open)}>${open ? "Fewer" : many(sorted.length - most, "more task", "more tasks")}</button>`}`;
}

/** @param {{task: TaskData, first: number, end: number}} props */
export function Histogram({ task, first, end }) {
  const [at, setAt] = useState(-1);
  const counts = task.took?.counts ?? [];
  const offset = (task.took?.first ?? 0) - first;
  const said = counts[at] === undefined ? `median ${took(task.p50)}, 95 % under ${took(task.p95)}, longest ${took(task.slowest)}` : `${classText(first + offset + at)}: ${count(counts[at])}`;
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const to = moved(event, at, counts.length);
    if (to === null) return;
    setAt(to);
    event.preventDefault();
    event.stopPropagation();
  };
  const pointer = {
    move: (/** @type {any} */ event) => setAt(Math.floor((event.px / event.box) * (end - first)) - offset),
    leave: () => setAt(-1),
  };
  return html`<div class="canvas-box" title=${said}>
    <${Canvas} height=${HEIGHT} label=${`Durations of ${task.task}`} at=${at} last=${counts.length - 1} said=${said} onKey=${onKey} pointer=${pointer}
      paint=${(context, width) => paint(context, width, task, first, end, offset, at)} />
  </div>`;
}

/**
 * @param {CanvasRenderingContext2D} context @param {number} width @param {TaskData} task
 * @param {number} first @param {number} end @param {number} offset @param {number} at
 */
function paint(context, width, task, first, end, offset, at) {
  const counts = task.took?.counts ?? [];
  const most = Math.max(1, ...counts);
  const wide = width / (end - first);
  const floor = HEIGHT - 3;
  context.fillStyle = colour("line");
  context.fillRect(0, floor, width, 1);
  counts.forEach((each, index) => {
    if (!each) return;
    const tall = Math.max(1.5, Math.sqrt(each / most) * (floor - 2)); // by roots: a tail of one in a million is seen
    context.fillStyle = colour(index === at ? "ink-2" : "completed");
    context.fillRect((offset + index) * wide, floor - tall, Math.max(1, wide - 1), tall);
  });
  context.fillStyle = colour("ink");
  for (const mark of [task.p50, task.p95]) {
    if (!mark) continue;
    const x = Math.min(width - 1, Math.max(0, (Math.log2(mark) * 2 - first) * wide));
    context.fillRect(Math.round(x), floor - 2, 1.5, 5);
  }
}
