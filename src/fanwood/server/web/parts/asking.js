// What is asked before something is done to runs: what it means, a button that does it, and what came of it.

import { post } from "../core/api.js";
import { count, shortId } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { href } from "../core/place.js";
import { Dialog } from "./dialog.js";
import { NAMES } from "./doing.js";
import { announce, tell } from "./feedback.js";

const AGAIN = "It runs again. Children that completed keep their results: only what failed is done again.";

/** @type {Record<string, {name: string, text: string, done: string, danger?: boolean}>} */
export const VERBS = {
  retry: { name: NAMES.retry, text: AGAIN, done: "Runs again" },
  replay: { name: NAMES.replay, text: AGAIN, done: "Runs again" },
  retry_failures: { name: NAMES.retry_failures, text: "What failed below it as well, and what stands above that, also if it had completed. What completed is found as it was.", done: "Runs again" },
  pause: { name: NAMES.pause, text: "Nothing of it, and of what is below it, begins any more until it is resumed. What executes goes on.", done: "Paused" },
  resume: { name: NAMES.resume, text: "What waits for that is queued again.", done: "Resumed" },
  wake: { name: NAMES.wake, text: "It ends now, as if its time had come: what sleeps goes on.", done: "Woken" },
  reprioritize: { name: "Priority", text: "For it and all below it, also for what is spawned there later.", done: "Reprioritized" },
  fork: { name: "Fork", text: "A new run, with a tree of its own: it takes what this one had finished, and runs the rest.", done: "Forked" },
  patch: { name: "Patch a result", text: "It has completed then. One that has not ended ends with it, and all below it is cancelled.", done: "Patched" },
  cancel: { name: NAMES.cancel, text: "Everything below it that has not ended is cancelled with it.", done: "Cancelled", danger: true },
};

/** @param {{run: any, verb: string, onClose: () => void, after?: () => void}} props */
export function Confirm({ run, verb, onClose, after }) {
  const { name, text, done, danger } = VERBS[verb];
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

/** All that match, once they were counted. `seen`: counts them again, with a priority.
 * @param {{preview: any, seen: (priority: string) => Promise<any>, action: string, label: string, describe: string, onClose: () => void}} props */
export function ConfirmAll({ preview, seen, action, label, describe, onClose }) {
  const [priority, setPriority] = useState("0");
  const { count: n, at_least: isMore, sample = [] } = preview;
  const runs = `${count(n)} ${n === 1 ? "run" : "runs"}`;
  const asks = action === "reprioritize";
  const act = async () => {
    if (asks && !/^\s*[+-]?\d+\s*$/.test(priority)) throw new Error(`A priority is a whole number, and not ${priority || "nothing"}`);
    await post("/actions", { token: asks ? (await seen(priority)).token : preview.token });
    tell(`Under way: ${action} of ${runs}`, { href: href("/actions") });
    announce(`${action} of ${runs} is under way`, true);
  };
  return html`<${Sure} title=${n ? `${label}: ${isMore ? "at least " : ""}${runs}?` : "No run fits that by now"} disabled=${!n} button=${`${action[0].toUpperCase()}${action.slice(1)} ${runs}`} danger=${action === "cancel" || action === "delete"} act=${act} onClose=${onClose}
    text=${`${describe}${/[.…]$/.test(describe) ? "" : "."} The server does it a thousand at a time; it survives restarts, and can be cancelled.`}>
    ${asks && html`<label class="field"><span>Priority</span><input inputmode="numeric" value=${priority} onInput=${(event) => setPriority(event.currentTarget.value)} /><small class="quiet">Higher goes first.</small></label>`}
    <ul class="sample">
      ${sample.slice(0, 5).map((run) => html`<li key=${run.id} class="cut"><code>${shortId(run.id)}</code> ${run.task} ${run.key ?? ""}</li>`)}
      ${n > 5 && sample.length ? html`<li class="quiet">and ${count(n - Math.min(5, sample.length))} more</li>` : null}
    </ul>
  <//>`;
}
