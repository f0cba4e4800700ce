// Starting a run: a form from the task's schema, or its input as JSON.

import { post } from "../core/api.js";
import { html, useMemo, useSignal, useState } from "../core/html.js";
import { go, href } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { fields, initial, placed, read, written } from "../core/schema.js";
import { may, me } from "../core/session.js";
import { announce, Empty, tell } from "../parts/feedback.js";
import { Entry, toWrong } from "../parts/entry.js";
import { Page } from "../parts/shell.js";
import { shown } from "./treetabs.js";

/** @param {{name: string}} props */
export function StartPage({ name }) {
  useSignal(me);
  const path = encodeURIComponent(name);
  return html`<${Page} title=${`Start ${name}`}>
    <nav class="way" aria-label="Above"><ol><li><a href=${href("/tasks")}>Tasks</a></li><li aria-current="page">${name}</li></ol></nav>
    <div class="page-head"><h1>Start ${name}</h1></div>
    ${me.value && !may("operator")
      ? html`<${Empty} title=${me.value.read_only ? "This server only shows" : "Starting runs is for operators"}><p class="soft">You may look here, and change nothing.</p><//>`
      : shown(useResource(`/tasks/${path}`), (task) => html`<${Form} task=${task} path=${path} />`)}
  <//>`;
}

/** @param {string | undefined} text */
function schemaOf(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/** @type {[string, string, string][]} */
const LIMITS = [
  ["runs", "Runs", "How many there may be below it."],
  ["depth", "Depth", "How many levels there may be below it."],
  ["seconds", "Seconds", "Of executing, together."],
  ["units", "Units", "Of what its tasks spend: usd=5, tokens=200000"],
];

/** What the fields say; null if they say nothing. @param {Record<string, string>} given @returns {Record<string, any> | null} */
function budgetOf(given) {
  /** @type {Record<string, any>} */
  const budget = {};
  for (const name of ["runs", "depth", "seconds"]) {
    const text = given[name].trim();
    if (!text) continue;
    if (!/^\d+(\.\d+)?$/.test(text)) throw new Error(`${name} must be a number, and is ${text}`);
    budget[name] = Number(text);
  }
  const units = given.units.split(",").map((each) => each.trim()).filter(Boolean);
  for (const each of units) {
    const [unit, amount] = each.split("=").map((part) => part.trim());
    if (!unit || !amount) throw new Error(`A unit must be a name and an amount, such as usd=5, and is ${each}`);
    (budget.units ??= {})[unit] = amount;
  }
  return Object.keys(budget).length ? budget : null;
}

/** @param {{task: any, path: string}} props */
function Form({ task, path }) {
  const form = useMemo(() => fields(schemaOf(task.schema)), [task.schema]);
  const [values, setValues] = useState(() => Object.fromEntries((form ?? []).map((field) => [field.name, initial(field)])));
  const [raw, setRaw] = useState(/** @type {string | null} */ (form ? null : ""));
  const [more, setMore] = useState({ key: "", priority: "", metadata: "", runs: "", depth: "", seconds: "", units: "" });
  const [problem, setProblem] = useState("");
  const [wrong, setWrong] = useState(/** @type {Record<string, string>} */ ({}));
  const [busy, setBusy] = useState(false);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const place = event.currentTarget;
    const refused = (/** @type {string} */ text, /** @type {Record<string, string>} */ each = {}) => {
      setBusy(false);
      setProblem(text);
      setWrong(each);
      announce(text, true);
      toWrong(place);
    };
    setProblem("");
    setWrong({});
    const told = raw === null ? written(form ?? [], values) : { text: raw.trim() || "{}", wrong: {} };
    const count = Object.keys(told.wrong).length;
    if (count) return refused(count > 1 ? `${count} fields need another look.` : Object.values(told.wrong)[0], told.wrong);
    try {
      JSON.parse(told.text);
      /** @type {Record<string, any>} */
      const body = {};
      if (more.key) body.key = more.key;
      if (more.priority) body.priority = Number(more.priority);
      const budget = budgetOf(more);
      if (budget) body.budget = budget;
      const parts = [JSON.stringify(body).slice(1, -1), `"input": ${told.text}`];
      if (more.metadata.trim()) {
        JSON.parse(more.metadata);
        parts.push(`"metadata": ${more.metadata}`);
      }
      setBusy(true);
      const { id } = await post(`/tasks/${path}/runs`, `{${parts.filter(Boolean).join(", ")}}`);
      tell(`Started ${task.name}`);
      go(href(`/t/${id}`));
    } catch (error) {
      const { wrong: each, rest } = placed(raw === null ? (form ?? []) : [], error.errors, "input.");
      const count = Object.keys(each).length;
      refused(error instanceof SyntaxError ? `That is no JSON: ${error.message}` : count ? [count > 1 ? `${count} fields do not fit.` : "One field does not fit.", ...rest].join(" ") : error.message, each);
    }
  };
  const toggle = () => {
    setProblem("");
    setWrong({});
    if (raw === null) return setRaw(written(form ?? [], values).text);
    try {
      const found = read(form ?? [], raw.trim() || "{}");
      if (!found) return setProblem("Some of this has no place in the form: it can be sent as JSON only.");
      setValues(found);
      setRaw(null);
    } catch (error) {
      setProblem(`That is no JSON: ${error.message}`);
    }
  };
  return html`<form class="start" noValidate onSubmit=${submit}>
    ${task.description && html`<p class="soft">${task.description}</p>`}
    ${!task.serving && html`<p class="banner warn-banner">No live worker serves it: the run will wait for one.</p>`}
    <div class="panel-head"><h2>Input</h2><span class="push"></span>${form && html`<button type="button" class="link-button soft" onClick=${toggle}>${raw === null ? "As JSON" : "As a form"}</button>`}</div>
    ${raw === null
      ? (form ?? []).map((field) => html`<${Entry} key=${field.name} field=${field} value=${values[field.name]} wrong=${Object.hasOwn(wrong, field.name) ? wrong[field.name] : ""} set=${(/** @type {any} */ value) => setValues((/** @type {any} */ old) => ({ ...old, [field.name]: value }))} />`)
      : html`<textarea class="mono" rows="8" aria-label="Input as JSON" spellcheck=${false} placeholder="{}" value=${raw} onInput=${(event) => setRaw(event.currentTarget.value)}></textarea>`}
    <details class="more-options"><summary>Budget: what it and all below it may use</summary>
      ${LIMITS.map(([name, label, help]) => html`<label key=${name} class="field"><span>${label}</span><input inputmode=${name === "units" ? null : "decimal"} value=${more[name]} onInput=${(event) => setMore({ ...more, [name]: event.currentTarget.value })} /><small class="quiet">${help}</small></label>`)}
    </details>
    <details class="more-options"><summary>Key, priority, metadata</summary>
      <label class="field"><span>Key</span><input value=${more.key} onInput=${(event) => setMore({ ...more, key: event.currentTarget.value })} /><small class="quiet">A second run of the same key is the first one.</small></label>
      <label class="field"><span>Priority</span><input type="number" min="1" max="3" value=${more.priority} onInput=${(event) => setMore({ ...more, priority: event.currentTarget.value })} /></label>
      <label class="field"><span>Metadata</span><textarea class="mono" rows="3" placeholder="{}" spellcheck=${false} value=${more.metadata} onInput=${(event) => setMore({ ...more, metadata: event.currentTarget.value })}></textarea></label>
    </details>
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    <div class="form-feet"><button class="button primary" disabled=${busy}>Start the run</button><a class="button" href=${href("/tasks")}>Leave it</a></div>
  </form>`;
}
