// What can be done to runs: the buttons. What is asked then comes when one is pressed.

import { post } from "../core/api.js";
import { html, lazy, useSignal, useState } from "../core/html.js";
import { may, me } from "../core/session.js";
import { hasEnded } from "../core/states.js";
import { tell } from "./feedback.js";

const Surgery = lazy(() => import("./surgery.js"), "Surgery", { bare: true });
const Confirm = lazy(() => import("./asking.js"), "Confirm", { bare: true });
const ConfirmAll = lazy(() => import("./asking.js"), "ConfirmAll", { bare: true });

/** @type {Record<string, string>} */
export const NAMES = { retry: "Retry", replay: "Replay", retry_failures: "Retry what failed", pause: "Pause", resume: "Resume", wake: "Wake", cancel: "Cancel" };

/** The buttons of a run. `paused`: what pauses it; null: nothing; undefined: it is no matter here. `more`: whatever else
 * can be done as well.
 * @param {{run: any, failed?: number, paused?: any, more?: boolean, after?: () => void}} props */
export function RunButtons({ run, failed = 0, paused, more = false, after }) {
  useSignal(me);
  const [asking, ask] = useState(/** @type {string | null} */ (null));
  if (!may("operator")) return null;
  const verb = !hasEnded(run.state) ? "cancel" : failed ? "retry_failures" : run.state === "completed" ? "replay" : "retry";
  const hold = paused === undefined ? null : paused?.run_id === run.id ? "resume" : hasEnded(run.state) ? null : "pause";
  const sleeps = run.kind === "sleep" && !hasEnded(run.state);
  return html`${sleeps && html`<button class="button" onClick=${() => ask("wake")}>${NAMES.wake}</button>`}${hold && html`<button class="button" onClick=${() => ask(hold)}>${NAMES[hold]}</button>`}
    <button class="button" onClick=${() => ask(verb)}>${NAMES[verb]}</button>
    ${more && html`<button class="button" onClick=${() => ask("")}>More</button>`}
    ${asking === "" && html`<${Surgery} run=${run} onClose=${() => ask(null)} after=${after} />`}
    ${asking && html`<${Confirm} run=${run} verb=${asking} onClose=${() => ask(null)} after=${after} />`}`;
}

/** All that match, in bulk: a preview with its count first, then the token of that is confirmed.
 * @param {{action: string, label: string, filter: Record<string, unknown>, small?: boolean, describe: string}} props */
export function BulkButton({ action, label, filter, small = true, describe }) {
  useSignal(me);
  const [preview, setPreview] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  if (!may("operator")) return null;
  const seen = (/** @type {string} */ priority) => post("/actions", { action, filter, dry_run: true, ...(action === "reprioritize" ? { priority: Number(priority) } : {}) });
  const look = async () => {
    setBusy(true);
    try {
      setPreview(await seen("0"));
    } catch (error) {
      tell(error.message, { bad: true });
    }
    setBusy(false);
  };
  return html`<button class=${`button${small ? " small" : ""}`} disabled=${busy} onClick=${look} aria-label=${`${label}: ${describe}`}>${label}</button>
    ${preview && html`<${ConfirmAll} preview=${preview} seen=${seen} action=${action} label=${label} describe=${describe} onClose=${() => setPreview(null)} />`}`;
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
