// A canvas that knows its size, its colours, and how to be read without being seen.

import { html, signal, useEffect, useLayoutEffect, useRef, useSignal, useState } from "../core/html.js";

/** Tables instead of pictures: toggled by `v`. */
export const asTables = signal(false);

/** @type {Map<string, string>} */
const colours = new Map();
const painted = signal(0);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  colours.clear();
  painted.value += 1;
});

/** A value of the style sheet. @param {string} name */
export function colour(name) {
  let found = colours.get(name);
  if (found === undefined) {
    found = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    colours.set(name, found);
  }
  return found;
}

/** @param {number} size @param {number} [weight] */
export const font = (size, weight = 400) => `${weight} ${size}px ${colour("sans")}`;

/** @typedef {PointerEvent & {px: number, py: number, box: number}} Pointed where in the canvas, and how wide that is */

/**
 * @param {object} props
 * @param {number} props.height
 * @param {(context: CanvasRenderingContext2D, width: number, height: number) => void} props.paint
 * @param {string} props.label what it shows, and which keys it takes
 * @param {number} props.at where its reader is
 * @param {number} props.last
 * @param {string} props.said what is there, in words
 * @param {(event: KeyboardEvent) => void} props.onKey
 * @param {Record<string, (event: Pointed) => void>} [props.pointer]
 */
export function Canvas({ height, paint, label, at, last, said, onKey, pointer = {} }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [width, setWidth] = useState(0);
  useSignal(painted);
  useLayoutEffect(() => {
    const around = canvas.current?.parentElement;
    if (!around) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(around);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context || !width) return;
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (element.width !== wide) element.width = wide;
    if (element.height !== high) element.height = high;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    paint(context, width, height);
  });
  const handle = (/** @type {string} */ name) => (/** @type {PointerEvent} */ event) => {
    const box = canvas.current?.getBoundingClientRect();
    if (box) pointer[name]?.(Object.assign(event, { px: event.clientX - box.left, py: event.clientY - box.top, box: width }));
  };
  return html`<canvas
    ref=${canvas}
    class="chart"
    style=${{ width: `${width}px`, height: `${height}px` }}
    tabindex="0"
    role="slider"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax=${Math.max(0, last)}
    aria-valuenow=${Math.max(0, at)}
    aria-valuetext=${said}
    onKeyDown=${onKey}
    onPointerDown=${handle("down")}
    onPointerMove=${handle("move")}
    onPointerUp=${handle("up")}
    onPointerLeave=${handle("leave")}
  ></canvas>`;
}

/** The same numbers as a table. @param {{caption: string, head: string[], rows: (string | number)[][]}} props */
export function Twin({ caption, head, rows }) {
  return html`<div class="twin" tabindex="0" role="region" aria-label=${caption}>
    <table>
      <caption class="hidden">${caption}</caption>
      <thead><tr>${head.map((name, at) => html`<th key=${name} scope="col" class=${at ? "num" : ""}>${name}</th>`)}</tr></thead>
      <tbody>
        ${rows.map((row, at) => html`<tr key=${at}>${row.map((cell, column) => html`<td key=${column} class=${column ? "num" : ""}>${cell}</td>`)}</tr>`)}
      </tbody>
    </table>
  </div>`;
}

/** Where a key leads along a line of things. @param {KeyboardEvent} event @param {number} at @param {number} size @returns {number | null} */
export function moved(event, at, size) {
  const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
  if (step) return Math.max(0, Math.min(size - 1, at < 0 && step > 0 ? 0 : at + step));
  return event.key === "Home" ? 0 : event.key === "End" ? size - 1 : null;
}

/** Text, cut so that it fits. @param {CanvasRenderingContext2D} context @param {string} text @param {number} room */
export function fitted(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let size = text.length;
  while (size > 1 && context.measureText(`${text.slice(0, size)}…`).width > room) size -= 1;
  return size > 1 ? `${text.slice(0, size)}…` : "";
}
