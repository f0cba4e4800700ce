// What can be done to runs: asked for, confirmed, told.

import { post } from "../core/api.js";
import { count, shortId } from "../core/format.js";
import { html, lazy, useSignal, useState } from "../core/html.js";
import { href } from "../core/place.js";
import { may, me } from "../core/session.js";
import { hasEnded } from "../core/states.js";
import { Dialog } from "./dialog.js";
import { announce, tell } from "./feedback.js";

const Surgery = lazy(() => import("./surgery.js"), "Surgery");

/** @type {Record<string, {name: string, text: string, done: string, danger?: boolean}>} */
export const VERBS = {
  retry: { name: "Retry", text: "It runs again. Children that completed keep their results: only what failed is done again.", done: "Runs again" },
  replay: { name: "Replay", text: "It runs again. Children that completed keep their results: only what failed is done again.", done: "Runs again" },
  retry_failures: { name: "Retry what failed", text: "What failed below it as well, and what stands above that, also if it had completed. What completed is found as it was.", done: "Runs again" },
  pause: { name: "Pause", text: "Nothing of it, and of what is below it, begins any more until it is resumed. What executes goes on.", done: "Paused" },
  resume: { name: "Resume", text: "What waits for that is queued again.", done: "Resumed" },
  reprioritize: { name: "Priority", text: "For it and all below it, also for what is spawned there later.", done: "Reprioritized" },
  fork: { name: "Fork", text: "A new run, with a tree of its own: it takes what this one had finished, and runs the rest.", done: "Forked" },
  patch: { name: "Patch a result", text: "It has completed then. One that has not ended ends with it, and all below it is cancelled.", done: "Patched" },
  cancel: { name: "Cancel", text: "Everything below it that has not ended is cancelled with it.", done: "Cancelled", danger: true },
};

/** The buttons of a run. `paused`: what pauses it; null: nothing; undefined: it is no matter here. `more`: whatever else
 * can be done as well.
 * @param {{run: any, failed?: number, paused?: any, more?: boolean, after?: () => void}} props */
export function RunButtons({ run, failed = 0, paused, more = false, after }) {
  useSignal(me);
  const [asking, ask] = useState(/** @type {string | null} */ (null));
  if (!may("operator")) return null;
  const verb = !hasEnded(run.state) ? "cancel" : failed ? "retry_failures" : run.state === "completed" ? "replay" : "retry";
  const hold = paused === undefined ? null : paused?.run_id === run.id ? "resume" : hasEnded(run.state) ? null : "pause";
  return html`${hold && html`<button class="button" onClick=${() => ask(hold)}>${VERBS[hold].name}</button>`}
    <button class="button" onClick=${() => ask(verb)}>${VERBS[verb].name}</button>
    ${more && html`<button class="button" onClick=${() => ask("")}>More</button>`}
    ${asking === "" && html`<${Surgery} run=${run} onClose=${() => ask(null)} after=${after} />`}
    ${asking && html`<${Confirm} run=${run} verb=${asking} name=${VERBS[asking].name} onClose=${() => ask(null)} after=${after} />`}`;
}

/** @param {{run: any, verb: string, name: string, onClose: () => void, after?: () => void}} props */
export function Confirm({ run, verb, name, onClose, after }) {
  const { text, done, danger } = VERBS[verb];
  const act = async () => {
    const acted = await post(`/runs/${run.id}/${verb}`);
    const which = `${run.task} ${shortId(run.id)}`;
    if (acted.pending) tell(`Under way: ${name.toLowerCase()} of ${which}`);
    else if (acted.done === undefined) tell(`Nothing was done: ${which} is ${acted.state} by now`, { bad: true });
    else tell(`${done}: ${which}`);
    after?.();
  };
  return html`<${Sure} title=${`${name}: ${run.task} ${shortId(run.id)}?`} text=${text} button=${verb === "cancel" ? "Cancel it" : name} danger=${danger} act=${act} onClose=${onClose} />`;
}

/** @param {{title: string, text: string, button: string, danger?: boolean, disabled?: boolean, act: () => Promise<void>, onClose: () => void, children?: any}} props */
export function Sure({ title, text, button, danger = false, disabled = false, act, onClose, children }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const go = async () => {
    setBusy(true);
    try {
      await act();
      onClose();
    } catch (error) {
      setProblem(error.message);
      announce(error.message, true);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p class="soft">${text}</p>
    ${children}
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    <div class="dialog-feet">
      <button class="button" onClick=${onClose}>Leave it</button>
      <button class=${`button primary${danger ? " danger" : ""}`} disabled=${busy || disabled} onClick=${go}>${button}</button>
    </div>
  <//>`;
}

/** All that match, in bulk: a preview with its count first, then the token of that is confirmed.
 * @param {{action: string, label: string, filter: Record<string, unknown>, small?: boolean, describe: string}} props */
export function BulkButton({ action, label, filter, small = true, describe }) {
  useSignal(me);
  const [preview, setPreview] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const [priority, setPriority] = useState("0");
  if (!may("operator")) return null;
  const asks = action === "reprioritize";
  const seen = (/** @type {string} */ given) => post("/actions", { action, filter, dry_run: true, ...(asks ? { priority: Number(given) } : {}) });
  const look = async () => {
    setBusy(true);
    try {
      setPreview(await seen("0"));
    } catch (error) {
      tell(error.message, { bad: true });
    }
    setBusy(false);
  };
  const act = async () => {
    if (asks && !/^\s*[+-]?\d+\s*$/.test(priority)) throw new Error(`A priority is a whole number, and not ${priority || "nothing"}`);
    await post("/actions", { token: asks ? (await seen(priority)).token : preview.token });
    tell(`Under way: ${action} of ${count(preview.count)} runs`, { href: href("/actions") });
    announce(`${action} of ${count(preview.count)} runs is under way`, true);
  };
  const n = preview?.count ?? 0;
  const atLeast = preview?.at_least ? "at least " : "";
  const sample = preview?.sample ?? [];
  return html`<button class=${`button${small ? " small" : ""}`} disabled=${busy} onClick=${look} aria-label=${`${label}: ${describe}`}>${label}</button>
    ${preview &&
    html`<${Sure} title=${n ? `${label}: ${atLeast}${count(n)} ${n === 1 ? "run" : "runs"}?` : "No run fits that by now"} disabled=${!n} button=${`${action[0].toUpperCase()}${action.slice(1)} ${count(n)} ${n === 1 ? "run" : "runs"}`} danger=${action === "cancel" || action === "delete"} act=${act} onClose=${() => setPreview(null)}
      text=${`${describe}${/[.…]$/.test(describe) ? "" : "."} The server does it a thousand at a time; it survives restarts, and can be cancelled.`}>
      ${asks && html`<label class="field"><span>Priority</span><input inputmode="numeric" value=${priority} onInput=${(event) => setPriority(event.currentTarget.value)} /><small class="quiet">Higher goes first.</small></label>`}
      <ul class="sample">
        ${sample.slice(0, 5).map((run) => html`<li key=${run.id} class="cut"><code>${shortId(run.id)}</code> ${run.task} ${run.key ?? ""}</li>`)}
        ${n > 5 && sample.length ? html`<li class="quiet">and ${count(n - Math.min(5, sample.length))} more</li>` : null}
      </ul>
    <//>`}`;
}

const OPEN = ["pause", "resume", "reprioritize", "cancel"];
const FITS = { failed: ["retry", "fork"], cancelled: ["retry", "fork"], completed: ["replay", "fork"], running: OPEN, queued: OPEN, waiting: OPEN };

/** What can be done to all that a page's filters let through. @param {{filter: Record<string, unknown>, state?: string | null, what: string, roots?: boolean}} props */
export function BulkButtons({ filter, state, what, roots = false }) {
  useSignal(me);
  const actions = [...(FITS[state ?? ""] ?? [])];
  if (roots && state && hasEnded(state) && may("admin")) actions.push("delete");
  return html`${actions.map((action) => html`<${BulkButton} key=${action} action=${action} label=${`${action[0].toUpperCase()}${action.slice(1)} all`} filter=${filter} describe=${what} />`)}`;
}
