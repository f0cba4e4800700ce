// What can be done to runs: asked for, confirmed, told.

import { post } from "../core/api.js";
import { count, shortId } from "../core/format.js";
import { html, useSignal, useState } from "../core/html.js";
import { href } from "../core/place.js";
import { may, me } from "../core/session.js";
import { hasEnded } from "../core/states.js";
import { Dialog } from "./dialog.js";
import { announce, tell } from "./feedback.js";

const VERBS = {
  retry: { name: "Retry", text: "It is queued again, with its retries restored. What completed below it stays.", done: "Queued again" },
  replay: { name: "Replay", text: "It runs anew. Children that completed keep their results: only what failed is done again.", done: "Replayed" },
  cancel: { name: "Cancel", text: "Everything below it that has not ended is cancelled with it.", done: "Cancellation is under way", danger: true },
};

/** The buttons of a run. @param {{run: any, failed?: number, after?: () => void}} props */
export function RunButtons({ run, failed = 0, after }) {
  useSignal(me);
  const [asking, ask] = useState(/** @type {keyof typeof VERBS | null} */ (null));
  if (!may("operator")) return null;
  const offered = !hasEnded(run.state) ? ["cancel"] : run.state === "completed" ? ["replay"] : ["replay", "retry"];
  const names = { replay: run.depth || !failed ? "Replay" : "Retry what failed", retry: "Retry", cancel: "Cancel" };
  return html`${offered.map((verb) => html`<button key=${verb} class="button" onClick=${() => ask(verb)}>${names[verb]}</button>`)}
    ${asking && html`<${Confirm} run=${run} verb=${asking} name=${names[asking]} onClose=${() => ask(null)} after=${after} />`}`;
}

/** @param {{run: any, verb: keyof typeof VERBS, name: string, onClose: () => void, after?: () => void}} props */
function Confirm({ run, verb, name, onClose, after }) {
  const { text, done, danger } = VERBS[verb];
  const act = async () => {
    await post(`/runs/${run.id}/${verb}`);
    tell(`${done}: ${run.task} ${shortId(run.id)}`);
    after?.();
  };
  return html`<${Sure} title=${`${name}: ${run.task} ${shortId(run.id)}?`} text=${text} button=${name} danger=${danger} act=${act} onClose=${onClose} />`;
}

/** @param {{title: string, text: string, button: string, danger?: boolean, act: () => Promise<void>, onClose: () => void, children?: any}} props */
export function Sure({ title, text, button, danger = false, act, onClose, children }) {
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
      <button class=${`button primary${danger ? " danger" : ""}`} disabled=${busy} onClick=${go}>${button}</button>
    </div>
  <//>`;
}

/** All that match, in bulk: a preview with its count first, then the token of that is confirmed.
 * @param {{action: string, label: string, filter: Record<string, unknown>, small?: boolean, describe: string}} props */
export function BulkButton({ action, label, filter, small = true, describe }) {
  useSignal(me);
  const [preview, setPreview] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  if (!may("operator")) return null;
  const look = async () => {
    setBusy(true);
    try {
      setPreview(await post("/actions", { action, filter, dry_run: true }));
    } catch (error) {
      tell(error.message, { bad: true });
    }
    setBusy(false);
  };
  const act = async () => {
    await post("/actions", { token: preview.token });
    tell(`Under way: ${action} of ${count(preview.count)} runs`, { href: href("/actions") });
    announce(`${action} of ${count(preview.count)} runs is under way`, true);
  };
  const n = preview?.count ?? 0;
  const sample = preview?.sample ?? [];
  return html`<button class=${`button${small ? " small" : ""}`} disabled=${busy} onClick=${look} aria-label=${`${label}: ${describe}`}>${label}</button>
    ${preview &&
    html`<${Sure} title=${`${label}: ${count(n)} runs?`} button=${`${action[0].toUpperCase()}${action.slice(1)} ${count(n)} ${n === 1 ? "run" : "runs"}`} danger=${action === "cancel" || action === "delete"} act=${act} onClose=${() => setPreview(null)}
      text=${`${describe}${/[.…]$/.test(describe) ? "" : "."} The server does it a thousand at a time; it survives restarts, and can be cancelled.`}>
      <ul class="sample">
        ${sample.slice(0, 5).map((run) => html`<li key=${run.id} class="cut"><code>${shortId(run.id)}</code> ${run.task} ${run.key ?? ""}</li>`)}
        ${n > 5 && sample.length ? html`<li class="quiet">and ${count(n - Math.min(5, sample.length))} more</li>` : null}
      </ul>
    <//>`}`;
}
