// Pushing an event: what is asked, and what came of it.

import { post } from "../core/api.js";
import { html, useState } from "../core/html.js";
import { href } from "../core/place.js";
import { placed } from "../core/schema.js";
import { Dialog } from "./dialog.js";
import { Entry, toWrong } from "./entry.js";
import { announce, tell } from "./feedback.js";

const COMMON = { required: false, isNull: false, lines: false, sketch: "{}" };
/** @type {import("../core/schema.js").Field[]} */
const FIELDS = [
  { ...COMMON, name: "key", label: "Key", type: "text", required: true, about: "What has happened, such as order:paid." },
  { ...COMMON, name: "scope", label: "Scope", type: "text", about: "Of whom: a wait that names a scope is ended by events of it only." },
  { ...COMMON, name: "payload", label: "Payload", type: "json", about: "JSON; left empty it is {}." },
  { ...COMMON, name: "id", label: "Id", type: "text", about: "Pushed twice under one it is one event. Left empty it gets a new one." },
  { ...COMMON, name: "metadata", label: "Metadata", type: "json", about: "A JSON object that is kept beside it; may be left empty." },
];

/** What is wrong with JSON in a field. @param {string} text @param {boolean} [isObject] */
function wrongJson(text, isObject = false) {
  try {
    const value = JSON.parse(text);
    return isObject && (typeof value !== "object" || !value || Array.isArray(value)) ? "It must be an object, such as {\"by\": \"ann\"}." : "";
  } catch (error) {
    return `That is no JSON: ${error.message}`;
  }
}

/** What is sent, as it was typed: a number may have more digits than can be read here. @param {Record<string, string>} values */
function told(values) {
  const [payload, metadata] = [values.payload.trim() || "{}", values.metadata.trim()];
  const all = { key: values.key.trim() ? "" : "An event needs one.", payload: wrongJson(payload), metadata: metadata ? wrongJson(metadata, true) : "" };
  const wrong = Object.fromEntries(Object.entries(all).filter(([, text]) => text));
  const parts = ["key", "scope", "id"].filter((name) => values[name].trim()).map((name) => `"${name}": ${JSON.stringify(values[name].trim())}`);
  return { wrong, text: `{${[...parts, `"payload": ${payload}`, ...(metadata ? [`"metadata": ${metadata}`] : [])].join(", ")}}` };
}

/** @param {{eventKey: string, scope: string, onClose: () => void, after: () => void}} props */
export function Push({ eventKey, scope, onClose, after }) {
  const [values, setValues] = useState(/** @type {Record<string, string>} */ ({ key: eventKey, scope, payload: "", id: "", metadata: "" }));
  const [wrong, setWrong] = useState(/** @type {Record<string, string>} */ ({}));
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (/** @type {any} */ event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const refused = (/** @type {string} */ text, /** @type {Record<string, string>} */ each) => {
      setBusy(false);
      setProblem(text);
      setWrong(each);
      announce(text || Object.values(each).join(" "), true);
      toWrong(form);
    };
    setProblem("");
    setWrong({});
    const { wrong: found, text } = told(values);
    if (Object.keys(found).length) return refused("", found);
    setBusy(true);
    try {
      const pushed = await post("/events", text);
      tell(pushed.was_there ? `${pushed.key} was there already under this id: it was not pushed again` : `Pushed ${pushed.key}`, { href: href(`/events/${encodeURIComponent(pushed.id)}`) });
      after();
      onClose();
    } catch (error) {
      if (error.code === "event_conflict") return refused("", { id: error.message });
      const { wrong: each, rest } = placed(FIELDS, error.errors, "");
      refused(Object.keys(each).length ? rest.join(" ") : error.message, each);
    }
  };
  const entry = (/** @type {import("../core/schema.js").Field} */ field) => html`<${Entry} key=${field.name} field=${field} value=${values[field.name]} wrong=${wrong[field.name] ?? ""} set=${(/** @type {string} */ value) => setValues((old) => ({ ...old, [field.name]: value }))} />`;
  return html`<${Dialog} title="Push an event" onClose=${onClose}>
    <p class="soft">It says that something has happened, and is kept. All runs that wait for it go on.</p>
    <form noValidate onSubmit=${submit} aria-label="Push an event">
      ${FIELDS.slice(0, 3).map(entry)}
      <details class="more-options" open=${Boolean(wrong.id || wrong.metadata)}><summary>Id, metadata</summary>${FIELDS.slice(3).map(entry)}</details>
      ${problem && html`<p class="problem" role="alert">${problem}</p>`}
      <div class="dialog-feet"><button type="button" class="button" onClick=${onClose}>Leave it</button><button class="button primary" disabled=${busy}>Push it</button></div>
    </form>
  <//>`;
}
