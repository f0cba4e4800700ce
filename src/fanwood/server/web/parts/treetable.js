// The tree, row by row: a treegrid of which only what can be seen is in the page.

import { Branches, keyOf } from "../core/branches.js";
import { age, count, now, took, when } from "../core/format.js";
import { classes, html, useEffect, useMemo, useRef, useSignal, useState } from "../core/html.js";
import { useKeys } from "../core/keys.js";
import { go, href } from "../core/place.js";
import { begunAgain, hasEnded, inWords, isWait, named, scopeOf, STATES, total, waitsFor } from "../core/states.js";
import { KinTag, MadeTag } from "./kin.js";
import { Bar, State, Tally } from "./state.js";
import { reveal, useWindow } from "./window.js";

const HIGH = 36;
const FIRST = 4096; // children of a run in a list are counted so far

/** @param {{root: string, narrow?: import("../core/branches.js").Narrow, beat?: unknown, bare?: boolean}} props bare: without a row for the root; beat: changes when it is time to look again */
export function TreeTable({ root, narrow = {}, beat, bare = false }) {
  const branches = useMemo(() => new Branches(root, narrow, bare), [root, narrow.task, narrow.state, narrow.cluster, narrow.flat]);
  useSignal(branches.version);
  const rows = branches.rows();
  const [at, setAt] = useState(0);
  const { box, first, end } = useWindow(rows.length, HIGH);
  const wanted = useRef(false);
  useEffect(() => void branches.load(root), [branches]);
  useEffect(() => {
    const view = branches.children.get(root);
    if (!view || view.error) return;
    const few = [...(view.families ?? [])].filter((family) => branches.fits(family.task, family.counts));
    if (branches.isFlat) void branches.more(branches.flatKey);
    else if (narrow.state)
      for (const family of few.slice(0, 3)) {
        branches.toggle(keyOf(root, family.task), true);
        branches.toggle(keyOf(root, family.task, narrow.state), true);
      }
  }, [branches, branches.children.has(root)]);
  useBeat(branches, beat);
  const here = Math.min(at, rows.length - 1);
  useEffect(() => {
    if (wanted.current) document.getElementById(`row-${rows[here]?.key}`)?.focus({ preventScroll: true });
    wanted.current = false;
  });
  const to = (/** @type {number} */ place) => {
    const next = Math.max(0, Math.min(rows.length - 1, place));
    wanted.current = true;
    setAt(next);
    reveal(box.current, next, HIGH);
  };
  const act = (/** @type {import("../core/branches.js").Row} */ row) => {
    if (row.type === "run") go(href(`/r/${row.run.id}`));
    else if (row.type === "more") void branches.more(row.parent ?? "");
    else if (row.opens) branches.toggle(row.key);
  };
  const failure = () => {
    const next = [...rows.keys()].map((step) => (here + 1 + step) % rows.length).find((place) => isFailure(rows[place]));
    if (next === undefined) return;
    if (!isFailed(rows[next])) branches.toggle(rows[next].key, true);
    if (rows[next].type === "group") branches.toggle(keyOf(rows[next].parent ?? "", rows[next].family.task, "failed"), true);
    to(next);
  };
  useKeys(() => [
    { keys: "j", does: "Next row", run: () => to(here + (wanted.current || document.activeElement?.closest("[role=treegrid]") ? 1 : 0)) },
    { keys: "k", does: "Row before", run: () => to(here - 1) },
    { keys: "e", does: "Next failure", run: failure },
    { keys: "o", does: "Open the row", run: () => rows[here] && act(rows[here]) },
  ]);
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const row = rows[here];
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20 };
    if (event.target instanceof HTMLElement && event.target.tagName === "A" && event.key === "Enter") return;
    if (event.key in moves) to(here + moves[event.key]);
    else if (event.key === "Home") to(0);
    else if (event.key === "End") to(rows.length - 1);
    else if (event.key === "ArrowRight" && row?.open) to(here + 1);
    else if (event.key === "ArrowRight" && row?.opens) branches.toggle(row.key, true);
    else if (event.key === "ArrowLeft" && row?.open) branches.toggle(row.key, false);
    else if (event.key === "ArrowLeft" && row) to(rows.findLastIndex((each, place) => place < here && each.level < row.level));
    else if ((event.key === "Enter" || event.key === " ") && row) act(row);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<div class="treegrid" role="treegrid" aria-label="Runs" aria-rowcount=${rows.length + 1} onKeyDown=${onKey}>
    <div class="tree-head" role="row" aria-rowindex="1">
      <span role="columnheader">Run</span><span role="columnheader">State</span><span role="columnheader" class="num">Took</span><span role="columnheader" class="num wide">Started</span>
    </div>
    <div class="rows" role="rowgroup" ref=${box} style=${{ height: `${rows.length * HIGH}px` }}>
      ${rows.slice(first, end).map((row, offset) => {
        const place = first + offset;
        return html`<${Line} key=${row.key} row=${row} place=${place} focused=${place === here} branches=${branches} act=${() => (setAt(place), act(row))} onFocus=${() => setAt(place)} />`;
      })}
    </div>
  </div>`;
}

/** @param {Branches} branches @param {unknown} beat */
function useBeat(branches, beat) {
  const last = useRef(Date.now());
  useEffect(() => {
    const look = () => {
      last.current = Date.now();
      void branches.refresh();
    };
    const wait = last.current + 2000 - Date.now();
    if (wait <= 0) return void look();
    const soon = setTimeout(look, wait); // what was heard last may be the last that there is
    return () => clearTimeout(soon);
  }, [beat]);
}

/** @param {import("../core/branches.js").Row} row */
const isFailure = (row) => isFailed(row) || (!row.open && Boolean({ run: row.below?.failed, state: row.state === "failed", group: row.family?.counts.failed }[row.type]));
/** @param {import("../core/branches.js").Row} row */
const isFailed = (row) => row.type === "run" && row.run.state === "failed" && row.key !== row.run.root_id;

/** @param {any} props */
function Line({ row, place, focused, branches, act, onFocus }) {
  const open = (/** @type {Event} */ event) => {
    event.stopPropagation();
    if (row.opens) branches.toggle(row.key);
    else if (row.type === "more") act();
  };
  return html`<div
    id=${`row-${row.key}`}
    class=${classes("tree-row", `row-${row.type}`, isWait(row.run?.task ?? row.family?.task ?? "") && "row-wait")}
    role="row"
    tabindex=${focused ? 0 : -1}
    aria-rowindex=${place + 2}
    aria-level=${row.level}
    aria-posinset=${row.place}
    aria-setsize=${row.siblings}
    aria-expanded=${row.opens ? String(Boolean(row.open)) : null}
    style=${{ top: `${place * HIGH}px`, height: `${HIGH}px` }}
    onFocus=${onFocus}
    onClick=${row.type === "run" ? null : open}
  >
    <span class="cell name" role="gridcell" style=${{ paddingLeft: `${(row.level - 1) * 20}px` }}>
      <span class=${classes("twist", !row.opens && "no-twist")} aria-hidden="true" onClick=${open}></span>
      ${NAMES[row.type](row)}
    </span>
    ${(MIDDLE[row.type] ?? blank)(row)}
  </div>`;
}

const NAMES = {
  run: ({ run }) => html`<${State} state=${run.state} plain /><a class="task" tabindex="-1" title=${named(run.task)} href=${href(`/r/${run.id}`)}>${named(run.task)}</a>
    ${run.key && html`<span class="soft cut">${run.key}</span>`}${waitsFor(run) && html`<span class="cut" title=${waitsFor(run)}>${waitsFor(run)}</span>`}${scopeOf(run) && html`<span class="soft cut">scope ${scopeOf(run)}</span>`}<${KinTag} kin=${run.kin} /><${MadeTag} made=${run.made} />${run.waits === "resume" && html`<span class="tag">paused</span>`}<span class="preview cut">${!waitsFor(run) && run.preview && run.preview !== "{}" && run.preview !== "null" ? run.preview : ""}</span>`,
  group: ({ family }) => html`<span class="times" title=${family.more ? "At least: the rest was not counted" : null}>× ${count(total(family.counts))}${family.more ? "+" : ""}</span><b class="task" title=${named(family.task)}>${named(family.task)}</b>${isWait(family.task) ? html`<span class="tag">waits and recorded steps</span>` : null}`,
  state: ({ state, count: n, more }) => html`<${State} state=${state} plain /><span>${count(n)}${more ? "+" : ""} ${STATES[state].word}</span>`,
  more: ({ count: n }) => html`<span class="linkish">Show 100 more</span>${n ? html`<span class="quiet">of ${count(n)}</span>` : null}`,
  loading: () => html`<span class="quiet">Loading</span>`,
  error: ({ text }) => html`<span class="is-failed">${text}</span>`,
  none: ({ text }) => html`<span class="quiet">${text}</span>`,
};

const blank = () => html`<span class="cell" role="gridcell"></span><span class="cell" role="gridcell"></span><span class="cell wide" role="gridcell"></span>`;

const MIDDLE = {
  run({ run, below, waits, some }) {
    return html`<span class="cell detail" role="gridcell"><${Detail} run=${run} below=${below} waits=${waits} some=${some} /></span>
      <span class="cell num" role="gridcell">${lasted(run)}</span>
      <span class="cell num wide quiet" role="gridcell">${run.started_at ? `${age(now() - run.started_at)} ago` : ""}</span>`;
  },
  group({ family }) {
    return html`<span class="cell detail" role="gridcell"><${Bar} counts=${family.counts} class="in-row" /><${Tally} counts=${family.counts} /></span>
      <span class="cell num" role="gridcell" title="median">${family.p50 ? html`<span class="quiet">p50</span> ${took(Math.min(family.p50, family.slowest ?? family.p50))}` : ""}</span>
      <span class="cell num wide quiet" role="gridcell">${family.slowest ? `max ${took(family.slowest)}` : ""}</span>`;
  },
};

/** What is to be known of a run besides its name.
 * @param {{run: any, below?: any, waits?: number, some?: boolean}} props some: not more were counted than a segment has */
export function Detail({ run, below, waits = 0, some }) {
  const least = (/** @type {number} */ n) => some && total(below) + waits >= FIRST ? `${count(n)}+` : count(n);
  const parts = [];
  if (run.error && run.state !== "completed") parts.push(html`<span class=${classes("cut", run.state === "failed" ? "is-failed" : "soft")}>${run.error.type || run.error.kind}${run.error.message ? `: ${run.error.message}` : ""}</span>`);
  else if (isWait(run.task) && run.state === "waiting")
    parts.push(html`<span class="is-waiting nowrap">${run.due_at && run.due_at > now() ? `until ${when(run.due_at, now())} (${took(run.due_at - now())})` : `since ${age(now() - run.created_at)}`}</span>`);
  else if (run.is_suspended) parts.push(html`<span class="is-waiting nowrap" title="Its code is unloaded while it waits for others">suspended${run.due_at && run.due_at > now() ? `, at most for ${took(run.due_at - now())}` : ""}</span>`);
  else if (run.state !== "completed") parts.push(html`<span class=${`is-${run.state}`}>${STATES[run.state]?.word}${run.due_at && run.due_at > now() ? ` for ${took(run.due_at - now())}` : ""}</span>`);
  if (total(below)) parts.push(html`<span class="soft nowrap" title=${inWords(below)}>${least(total(below))} ${total(below) === 1 ? "child" : "children"}</span>${total(below) === below?.completed ? null : html`<${Tally} counts=${below} />`}`);
  if (waits) parts.push(html`<span class="quiet nowrap">${least(waits)} ${waits === 1 ? "wait or step" : "waits and steps"}</span>`);
  if (isWait(run.task)) parts.push(html`<span class="tag">${hasEnded(run.state) ? "recorded" : "wait"}</span>`);
  else if (run.kind && run.kind !== "task") parts.push(html`<span class="tag">${run.kind}</span>`);
  if (begunAgain(run)) parts.push(html`<span class="warn nowrap">attempt ${run.attempt}</span>`);
  return html`${parts}`;
}

/** @param {any} run */
export function lasted(run) {
  if (!run.started_at) return "";
  const end = run.finished_at ?? (run.state === "running" ? now() : null);
  return end ? took(Math.max(0, end - run.started_at)) : "";
}

