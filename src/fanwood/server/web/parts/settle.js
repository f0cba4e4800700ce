// Settling a promise: a form from its schema, for whoever has its token.

import { post } from "../core/api.js";
import { age, now, stamp } from "../core/format.js";
import { html, useMemo, useState } from "../core/html.js";
import { useResource } from "../core/resource.js";
import { fields, initial, valueOf } from "../core/schema.js";
import { hasEnded } from "../core/states.js";
import { Entry } from "./entry.js";
import { announce, Loading, Refused, tell } from "./feedback.js";
import { State } from "./state.js";

/** What a promise's token opens. @param {{token: string, after?: () => void}} props */
export function Settle({ token, after }) {
  const path = `/promises/${encodeURIComponent(token)}`;
  const { data, error, reload } = useResource(path);
  if (!data) return error ? html`<${Refused} error=${error} retry=${reload} />` : html`<${Loading} lines=${3} />`;
  if (hasEnded(data.state))
    return html`<div class="empty"><p class="empty-title">${data.name}</p><p><${State} state=${data.state} /></p><p class="soft">It is settled.</p></div>`;
  return html`<${Form} promise=${data} path=${path} after=${() => (reload(), after?.())} />`;
}

/** The same for who may see the run, and needs no token. @param {{id: string, after?: () => void}} props */
export function SettleRun({ id, after }) {
  const { data } = useResource(`/runs/${id}/promise`);
  return data?.token ? html`<${Settle} token=${data.token} after=${after} />` : null;
}

/** @param {{promise: any, path: string, after: () => void}} props */
function Form({ promise, path, after }) {
  const { name, schema } = promise;
  const isObject = useMemo(() => fields(schema) !== null, [schema]);
  const form = useMemo(() => (schema ? fields(isObject ? schema : { properties: { value: { title: name, ...schema } }, required: ["value"], $defs: schema.$defs }) : null) ?? [], [schema]);
  const [values, setValues] = useState(() => Object.fromEntries(form.map((field) => [field.name, initial(field)])));
  const [raw, setRaw] = useState("");
  const [reason, setReason] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const told = () => {
    if (!form.length) return raw.trim() ? JSON.parse(raw) : null;
    const all = Object.fromEntries(form.map((field) => [field.name, valueOf(field, values[field.name])]).filter(([, value]) => value !== undefined));
    return isObject ? all : all.value;
  };
  const send = async (/** @type {() => [string, any]} */ what) => {
    setProblem("");
    try {
      const [verb, body] = what();
      setBusy(true);
      const { settled } = await post(`${path}/${verb}`, body);
      tell(settled ? `${name} is settled` : `${name} was settled so before`);
      after();
    } catch (error) {
      const text = error instanceof SyntaxError ? `That is no JSON: ${error.message}` : error.message;
      setProblem(text);
      announce(text, true);
    }
    setBusy(false);
  };
  const resolve = (/** @type {() => any} */ value) => send(() => ["resolve", { value: value() }]);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    void (reason === null ? resolve(told) : send(() => ["reject", { reason }]));
  };
  const isYesNo = schema?.type === "boolean";
  return html`<form class="start settle" onSubmit=${submit} aria-label=${`Settle ${name}`}>
    <div class="panel-head"><h2>${name}</h2><span class="quiet" title=${stamp(promise.created_at)}>waited for since ${age(now() - promise.created_at)}</span></div>
    ${reason !== null
      ? html`<label class="field"><span>Why there will be no value</span><input value=${reason} onInput=${(event) => setReason(event.currentTarget.value)} /></label>`
      : isYesNo
        ? null
        : form.length
          ? form.map((field) => html`<${Entry} key=${field.name} field=${field} value=${values[field.name]} set=${(/** @type {any} */ value) => setValues({ ...values, [field.name]: value })} />`)
          : html`<textarea class="mono" rows="4" aria-label="The value as JSON" spellcheck="false" placeholder="null" value=${raw} onInput=${(event) => setRaw(event.currentTarget.value)}></textarea>`}
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    <div class="form-feet">
      ${reason !== null
        ? html`<button class="button danger" disabled=${busy}>Reject it</button><button type="button" class="button" onClick=${() => setReason(null)}>Back</button>`
        : html`${isYesNo
              ? html`<button type="button" class="button primary" disabled=${busy} onClick=${() => resolve(() => true)}>Yes</button><button type="button" class="button" disabled=${busy} onClick=${() => resolve(() => false)}>No</button>`
              : html`<button class="button primary" disabled=${busy}>Settle it</button>`}
            <span class="push"></span><button type="button" class="link-button soft" onClick=${() => setReason("")}>Reject</button>`}
    </div>
  </form>`;
}
