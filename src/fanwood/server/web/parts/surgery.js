// What else can be done to a run by hand, one thing at a time: chosen, told what it means, confirmed.

import { post } from "../core/api.js";
import { shortId } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { href } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { hasEnded } from "../core/states.js";
import { Confirm, Sure, VERBS } from "./asking.js";
import { Dialog } from "./dialog.js";
import { Loading, Refused, tell } from "./feedback.js";

/** @param {{run: any, onClose: () => void, after?: () => void}} props */
export function Surgery({ run, onClose, after }) {
  const { data, error, reload } = useResource(`/runs/${run.id}`);
  const [chosen, choose] = useState("");
  const done = () => (reload(), after?.());
  if (data && chosen === "reprioritize") return html`<${Priority} run=${data.run} onClose=${onClose} after=${done} />`;
  if (data && chosen === "patch") return html`<${Patch} run=${data.run} onClose=${onClose} after=${done} />`;
  if (data && chosen === "fork") return html`<${Fork} run=${data.run} onClose=${onClose} after=${done} />`;
  if (data && chosen) return html`<${Confirm} run=${data.run} verb=${chosen} onClose=${onClose} after=${done} />`;
  return html`<${Dialog} title=${`${run.task} ${shortId(run.id)}`} onClose=${onClose}>
    ${data
      ? html`<ul class="choices">${choices(data).map((verb) => html`<li key=${verb}><button class="button" onClick=${() => choose(verb)}>${VERBS[verb].name}</button> <span class="soft">${VERBS[verb].text}</span></li>`)}</ul>`
      : error ? html`<${Refused} error=${error} retry=${reload} />` : html`<${Loading} lines=${4} />`}
    <div class="dialog-feet"><button class="button" onClick=${onClose}>Leave it</button></div>
  <//>`;
}

/** What fits how it stands. @param {any} data @returns {string[]} */
function choices({ run, paused }) {
  const hold = paused?.run_id === run.id ? ["resume"] : ["pause"];
  if (!hasEnded(run.state)) return [...hold, "reprioritize", "patch", "cancel"];
  return [run.state === "completed" ? "replay" : "retry", "retry_failures", ...(run.kind === "step" ? [] : ["fork"]), "patch", ...(paused?.run_id === run.id ? ["resume"] : [])];
}

/** @param {{run: any, onClose: () => void, after: () => void}} props */
function Priority({ run, onClose, after }) {
  const [given, set] = useState(String(run.priority ?? 0));
  const act = async () => {
    if (!/^\s*[+-]?\d+\s*$/.test(given)) throw new Error(`A priority is a whole number, and not ${given || "nothing"}`);
    await post(`/runs/${run.id}/reprioritize`, { priority: Number(given) });
    tell(`${run.task} ${shortId(run.id)} has priority ${Number(given)}, and all below it`);
    after();
  };
  return html`<${Sure} title=${`Priority: ${run.task} ${shortId(run.id)}?`} text=${VERBS.reprioritize.text} button="Set the priority" act=${act} onClose=${onClose}>
    <label class="field"><span>Priority</span><input inputmode="numeric" value=${given} onInput=${(event) => set(event.currentTarget.value)} /><small class="quiet">Higher goes first.</small></label>
  <//>`;
}

/** @param {{run: any, onClose: () => void, after: () => void}} props */
function Patch({ run, onClose, after }) {
  const [given, set] = useState("");
  const act = async () => {
    let output;
    try {
      output = JSON.parse(given);
    } catch (error) {
      throw new Error(`That is no JSON: ${error.message}`, { cause: error });
    }
    const acted = await post(`/runs/${run.id}/patch`, { output });
    tell(`Patched: ${run.task} ${shortId(run.id)} is ${acted.state}`);
    after();
  };
  return html`<${Sure} title=${`Patch: ${run.task} ${shortId(run.id)}?`} text=${VERBS.patch.text} button="Patch it" danger=${!hasEnded(run.state)} act=${act} onClose=${onClose}>
    <label class="field"><span>Output</span><textarea class="mono" rows="4" spellcheck=${false} value=${given} onInput=${(event) => set(event.currentTarget.value)}></textarea><small class="quiet">JSON. Nothing checks that it fits the task.</small></label>
  <//>`;
}

/** From "runs=100, usd=5". @param {string} text */
function budgetOf(text) {
  /** @type {Record<string, any>} */
  const budget = {};
  for (const each of text.split(",")) {
    const [, name, amount] = each.match(/^\s*([^=\s]+)\s*=\s*(\d+(?:\.\d+)?)\s*$/) ?? [];
    if (!name) throw new Error(`A limit must be a name and an amount, such as usd=5, and is ${each.trim()}`);
    if (["runs", "depth", "seconds"].includes(name)) budget[name] = Number(amount);
    else (budget.units ??= {})[name] = amount;
  }
  return budget;
}

/** Of the run itself, with the input that it had or another one; or at a run below.
 * @param {{run: any, onClose: () => void, after: () => void}} props */
function Fork({ run, onClose, after }) {
  const [at, place] = useState("");
  const [given, set] = useState("");
  const [limits, limit] = useState("");
  const act = async () => {
    /** @type {{at?: string, input?: any, budget?: any}} */
    const body = at.trim() ? { at: at.trim() } : {};
    try {
      if (given.trim()) body.input = JSON.parse(given);
    } catch (error) {
      throw new Error(`That is no JSON: ${error.message}`, { cause: error });
    }
    if (limits.trim()) body.budget = budgetOf(limits);
    const { id } = await post(`/runs/${run.id}/fork`, body);
    tell(`Forked: ${run.task} ${shortId(id)}`, { href: href(`/r/${id}`) });
    after();
  };
  return html`<${Sure} title=${`Fork: ${run.task} ${shortId(run.id)}?`} text=${VERBS.fork.text} button="Fork it" act=${act} onClose=${onClose}>
    <label class="field"><span>At</span><input class="mono" spellcheck=${false} value=${at} onInput=${(event) => place(event.currentTarget.value)} /><small class="quiet">The id of a run below, to be done again with what was asked for after it. May be left out.</small></label>
    <label class="field"><span>Another input</span><textarea class="mono" rows="3" spellcheck=${false} value=${given} onInput=${(event) => set(event.currentTarget.value)}></textarea><small class="quiet">JSON: for that run, or else for the new one. May be left out.</small></label>
    <label class="field"><span>Budget</span><input class="mono" spellcheck=${false} value=${limits} onInput=${(event) => limit(event.currentTarget.value)} /><small class="quiet">What the new run and all below it may use: runs=100, seconds=300, usd=5. May be left out.</small></label>
  <//>`;
}
