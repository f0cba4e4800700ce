// The waterfall: the way to one run, and of each level some examples, on one axis of time with its empty parts folded.

import { shortId, took } from "../core/format.js";
import { classes, html, useMemo } from "../core/html.js";
import { here, href } from "../core/place.js";
import { tickText, ticks } from "../draw/axis.js";
import { State } from "./state.js";
import { useWindow } from "./window.js";

const HIGH = 28;
const FOLD = 0.02; // of the width: what a gap is folded to
const WHYS = { focus: "on the way", slow: "slow", failed: "failed", sample: "" };

/** Where times lie between 0 and 1, with gaps folded. @param {number} start @param {number} end @param {[number, number][]} gaps */
export function folded(start, end, gaps) {
  const inside = gaps.filter(([from, to]) => to > from && (to - from) / (end - start) > FOLD * 2);
  const cut = inside.reduce((sum, [from, to]) => sum + to - from, 0);
  const room = 1 - inside.length * FOLD;
  const scale = room / Math.max(1, end - start - cut);
  return (/** @type {number} */ at) => {
    let x = (at - start) * scale;
    for (const [from, to] of inside) {
      if (at <= from) break;
      x += Math.min(1, (at - from) / (to - from)) * FOLD - (Math.min(at, to) - from) * scale;
    }
    return Math.max(0, Math.min(1, x));
  };
}

/** Those that are not in one another's way. @param {number[]} marks @param {(at: number) => number} place */
function apart(marks, place) {
  let free = 0;
  return marks.filter((at) => {
    if (place(at) < free || place(at) > 0.95) return false;
    free = place(at) + 0.09;
    return true;
  });
}

/** @param {{data: any, root: string, focus: string | null}} props */
export function Waterfall({ data, focus }) {
  const { lanes } = data;
  const place = useMemo(() => folded(data.start, data.end, data.gaps ?? []), [data]);
  const { box, first, end } = useWindow(lanes.length, HIGH);
  const { found: marks, step } = ticks(data.start, data.end, 8);
  return html`<div class="waterfall">
    <p class="quiet tab-note">Of each level the slowest, the first that failed, and one per stretch of time${focus ? ", and the way to the chosen run" : ""}. Empty stretches are folded.</p>
    <div class="fall-head" aria-hidden="true"><span></span><span class="fall-axis">${apart(marks, place).map((at) => html`<span key=${at} style=${{ left: `${place(at) * 100}%` }}>${tickText(at, step)}</span>`)}</span></div>
    <ul ref=${box} class="fall-rows" style=${{ height: `${lanes.length * HIGH}px` }}>
      ${(data.gaps ?? []).map(([from, to], at) => html`<li key=${`gap${at}`} class="fall-gap" aria-hidden="true" style=${{ "--from": place(from), "--wide": Math.max(0, place(to) - place(from)) }}></li>`)}
      ${lanes.slice(first, end).map((lane, at) => html`<${Row} key=${`${lane.level}${lane.run.id}`} lane=${lane} top=${(first + at) * HIGH} place=${place} until=${data.end} chosen=${lane.run.id === focus} />`)}
    </ul>
  </div>`;
}

/** @param {any} props */
function Row({ lane: { run, level, why }, top, place, until, chosen }) {
  const [from, begun, to] = [run.created_at, run.started_at ?? run.finished_at ?? until, run.finished_at ?? until].map(place);
  const text = run.started_at ? took((run.finished_at ?? until) - run.started_at) : run.state;
  const near = to > 0.85;
  const inside = near && begun < 0.15;
  const right = inside ? 1 - to : 1 - begun;
  return html`<li class=${classes("fall-row", chosen && "chosen")} style=${{ top: `${top}px` }}>
    <span class="fall-name" style=${{ paddingLeft: `${Math.min(level, 10) * 14}px` }}>
      <${State} state=${run.state} plain /><a class="task cut" href=${href(`/r/${run.id}`)}>${run.task}</a>
      <a class="quiet mono id" href=${here({ focus: run.id })} aria-label=${`Show the way to ${shortId(run.id)}`}>${run.key ?? shortId(run.id)}</a>
    </span>
    <span class="fall-lane">
      <span class="fall-wait" style=${{ left: `${from * 100}%`, width: `${Math.max(0, begun - from) * 100}%` }}></span>
      <span class=${`fall-bar fill-${run.state}`} style=${{ left: `${begun * 100}%`, width: `max(2px, ${(to - begun) * 100}%)` }}></span>
      <span class=${classes("fall-text", inside && "inside")} style=${near ? { right: `calc(${right * 100}% + 6px)` } : { left: `calc(${to * 100}% + 6px)` }}>${text}${WHYS[why] ? html` <span class="quiet">${WHYS[why]}</span>` : null}</span>
    </span>
  </li>`;
}
