// One field of a form that is made from a schema.

import { html } from "../core/html.js";

/** @param {{field: import("../core/schema.js").Field, value: any, set: (value: any) => void}} props */
export function Entry({ field, value, set }) {
  const about = html`<small class="quiet">${field.type === "json" ? "JSON" : field.type}${field.required ? "" : ", may be left out"}${field.about ? `. ${field.about}` : ""}</small>`;
  if (field.type === "boolean")
    return html`<label class="field check"><input type="checkbox" checked=${value} onChange=${(event) => set(event.currentTarget.checked)} /><span>${field.label}</span>${about}</label>`;
  const typed = (/** @type {any} */ event) => set(event.currentTarget.value);
  return html`<label class="field"><span>${field.label}</span>
    ${field.type === "choice"
      ? html`<select value=${value} onChange=${typed}><option value=""></option>${field.choices?.map((each) => html`<option key=${String(each)} value=${String(each)}>${String(each)}</option>`)}</select>`
      : field.type === "json"
        ? html`<textarea class="mono" rows="3" spellcheck="false" value=${value} onInput=${typed}></textarea>`
        : html`<input inputmode=${field.type === "text" ? null : "decimal"} value=${value} required=${field.required && field.type !== "text"} spellcheck="false" onInput=${typed} />`}
    ${about}
  </label>`;
}
