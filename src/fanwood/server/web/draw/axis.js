// Scales: times with round steps, and durations by powers of two.

import { clock, date, took } from "../core/format.js";
import { colour, font } from "./canvas.js";

const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000];

/** Round times between two, at most so many. @param {number} start @param {number} end @param {number} most */
export function ticks(start, end, most) {
  const span = (end - start) / 1e6;
  const step = (STEPS.find((each) => span / each <= most) ?? span / Math.max(1, most)) * 1e6;
  const shift = new Date(start / 1000).getTimezoneOffset() * 60e6; // days begin at the reader's midnight
  const found = [];
  for (let at = Math.ceil((start - shift) / step) * step + shift; at <= end && found.length < 200; at += step) found.push(at);
  return { found, step };
}

/** @param {number} at @param {number} step */
export function tickText(at, step) {
  if (step >= 86_400e6) return date(at).slice(5);
  if (step >= 60e6) return clock(at).slice(0, 5);
  return step >= 1e6 ? clock(at) : clock(at, true);
}

/**
 * Draws times below a picture.
 * @param {CanvasRenderingContext2D} context @param {number} width @param {number} top
 * @param {number} start @param {number} end @param {number} [grid] where the lines begin
 */
export function timeAxis(context, width, top, start, end, grid = top) {
  const { found, step } = ticks(start, end, Math.max(2, Math.floor(width / 96)));
  context.font = font(11);
  context.textBaseline = "top";
  context.textAlign = "center";
  let free = 0;
  for (const at of found) {
    const x = Math.round(((at - start) / (end - start)) * width) + 0.5;
    context.strokeStyle = colour("line");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, grid);
    context.lineTo(x, top + 4);
    context.stroke();
    const text = tickText(at, step);
    const half = context.measureText(text).width / 2;
    if (x - half < free || x + half > width) continue;
    context.fillStyle = colour("ink-3");
    context.fillText(text, x, top + 7);
    free = x + half + 12;
  }
}

/** Where a class of durations begins. @param {number} index of `2 ** (index / 2)` microseconds */
export const bound = (index) => 2 ** (index / 2);
/** @param {number} index */
export const classText = (index) => `${took(bound(index))} to ${took(bound(index + 1))}`;
