// Settling a promise: a form from its schema, for whoever has its token.

import { post } from "../core/api.js";
import { age, now, stamp, when } from "../core/format.js";
import { html, useMemo, useState } from "../core/html.js";
import { useResource } from "../core/resource.js";
import { fields, initial, placed, valueOf, whole, written } from "../core/schema.js";
import { hasEnded } from "../core/states.js";
import { Entry, toWrong } from "./entry.js";
import { announce, Loading, Refused, tell } from "./feedback.js";
import { State } from "./state.js";

/** What a promise's token opens. @param {{token: string, after?: () => void}} props */
export function Settle({ token, after }) {
  const path = `/promises/${encodeURIComponent(token)}`;
  const { data, error, reload } = useResource(path);
  if (!data) return error ? html`<${error.code === "promise_token" ? Unknown : Refused} error=${error} retry=${reload} />` : html`<${Loading} lines=${3} />`;
  if (hasEnded(data.state))
    return html`<div class="empty"><p class="empty-title">${data.name}</p><p><${State} state=${data.state} /></p><p class="soft">${data.ended || "It is settled."}</p></div>`;
  return html`<${Form} promise=${data} path=${path} after=${() => (reload(), after?.())} />`;
}

/** @param {{retry: () => void}} props */
const Unknown = ({ retry }) => html`<div class="empty refused" role="alert"><p class="empty-title">That is no token of a promise here</p><p class="soft">The link is incomplete or of another server, or what waited was deleted.</p><p><button class="button" onClick=${retry}>Ask again</button></p></div>`;

/** The same for who may see the run, and needs no token. @param {{id: string, after?: () => void}} props */
export function SettleRun({ id, after }) {
  const { data } = useResource(`/runs/${id}/promise`);
  return data?.token ? html`<${Settle} token=${data.token} after=${after} />` : null;
}

/** Of the schema of a value that is put into a field, these are the field's. */
const WHOLE = { anyOf: undefined, oneOf: undefined, allOf: undefined, $ref: undefined };

/** @param {{promise: any, path: string, after: () => void}} props */
function Form({ promise, path, after }) {
  const { name, schema } = promise;
  const isObject = useMemo(() => fields(schema) !== null, [schema]);
  const form = useMemo(() => (schema ? fields(isObject ? schema : { ...schema, type: "object", properties: { value: { title: name, ...schema } }, required: ["value"], ...WHOLE }) : null) ?? [], [schema]);
  const [values, setValues] = useState(() => Object.fromEntries(form.map((field) => [field.name, initial(field)])));
  const [raw, setRaw] = useState("");
  const [reason, setReason] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState(/** @type {Record<string, string>} */ ({}));
  const send = async (/** @type {string} */ verb, /** @type {any} */ body, /** @type {any} */ place = null) => {
    setProblem("");
    setWrong({});
    setBusy(true);
    try {
      const { settled } = await post(`${path}/${verb}`, body);
      tell(settled ? `${name} is settled` : `${name} was settled so before`);
      after();
    } catch (error) {
      const found = placed(verb === "resolve" ? form : [], error.errors, isObject ? "value." : "");
      refused(Object.keys(found.wrong).length ? ["It does not fit.", ...found.rest].join(" ") : error.message, found.wrong, place);
    }
    setBusy(false);
  };
  const refused = (/** @type {string} */ text, /** @type {Record<string, string>} */ each, /** @type {any} */ place) => {
    setProblem(text);
    setWrong(each);
    announce(text, true);
    toWrong(place);
  };
  const submit = (/** @type {any} */ event) => {
    event.preventDefault();
    const place = event.currentTarget;
    if (reason !== null) return send("reject", { reason });
    let text = raw.trim() || "null";
    try {
      if (form.length) {
        const all = written(form, values);
        if (Object.keys(all.wrong).length) return refused(Object.values(all.wrong).join(" "), all.wrong, place);
        text = isObject ? all.text : (valueOf(form[0], values.value) ?? "null");
      } else JSON.parse(text);
    } catch (error) {
      return refused(`That is no JSON: ${error.message}`, {}, place);
    }
    return send("resolve", `{"value": ${text}}`, place);
  };
  const isYesNo = schema?.type === "boolean";
  const all = whole(schema);
  return html`<form class="start settle" noValidate onSubmit=${submit} aria-label=${`Settle ${name}`}>
    <div class="panel-head"><h2>${name}</h2><span class="quiet" title=${stamp(promise.created_at)}>waited for since ${age(now() - promise.created_at)}${promise.expires_at ? `, until ${when(promise.expires_at, now())}` : ""}</span></div>
    ${isObject && all.about && html`<p class="soft">${all.about}</p>`}
    ${reason !== null
      ? html`<label class="field"><span>Why there will be no value</span><input value=${reason} onInput=${(event) => setReason(event.currentTarget.value)} /></label>`
      : isYesNo
        ? null
        : form.length
          ? form.map((field) => html`<${Entry} key=${field.name} field=${field} value=${values[field.name]} wrong=${Object.hasOwn(wrong, field.name) ? wrong[field.name] : ""} set=${(/** @type {any} */ value) => setValues((/** @type {any} */ old) => ({ ...old, [field.name]: value }))} />`)
          : html`<textarea class="mono" rows="4" aria-label="The value as JSON" spellcheck=${false} placeholder="null" value=${raw} onInput=${(event) => setRaw(event.currentTarget.value)}></textarea>`}
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    <div class="form-feet">
      ${reason !== null
        ? html`<button class="button danger" disabled=${busy}>Reject it</button><button type="button" class="button" onClick=${() => setReason(null)}>Back</button>`
        : html`${isYesNo
              ? html`<button type="button" class="button primary" disabled=${busy} onClick=${() => send("resolve", { value: true })}>Yes</button><button type="button" class="button" disabled=${busy} onClick=${() => send("resolve", { value: false })}>No</button>`
              : html`<button class="button primary" disabled=${busy}>Settle it</button>`}
            ${isObject && all.isNull && html`<button type="button" class="button" disabled=${busy} onClick=${() => send("resolve", { value: null })}>Settle with null</button>`}
            <span class="push"></span><button type="button" class="link-button soft" onClick=${() => setReason("")}>Reject</button>`}
    </div>
  </form>`;
}
