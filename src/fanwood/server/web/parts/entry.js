// One field of a form that is made from a schema.

import { html, useState } from "../core/html.js";

let made = 0;

/** Once that is drawn: to the first field that is wrong. @param {any} form */
export const toWrong = (form) => setTimeout(() => form?.querySelector("[aria-invalid=true]")?.focus(), 50);

/** A line of text becomes several when a line's end is pasted, or Shift-Enter is pressed; Enter sends a form of single lines. @param {KeyboardEvent} event */
function entered(event) {
  const area = /** @type {HTMLTextAreaElement} */ (event.currentTarget);
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || area.value.includes("\n")) return;
  event.preventDefault();
  area.form?.requestSubmit();
}

/** @param {{field: import("../core/schema.js").Field, value: any, set: (value: any) => void, wrong?: string}} props */
export function Entry({ field, value, set, wrong }) {
  const [id] = useState(() => `field-${(made += 1)}`);
  const typed = (/** @type {any} */ event) => set(event.currentTarget.value);
  const common = { id, value, spellcheck: false, "aria-describedby": `${id}-about`, "aria-invalid": wrong ? "true" : null, "aria-required": field.required && !field.isNull ? "true" : null };
  const about = html`<small id=${`${id}-about`} class="quiet">${wrong && html`<span class="wrong">✗ ${wrong}</span> `}${field.about}</small>`;
  if (field.type === "boolean")
    return html`<div class="field check"><input ...${common} type="checkbox" checked=${value} onChange=${(event) => set(event.currentTarget.checked)} /><label for=${id}>${field.label}</label>${about}</div>`;
  return html`<div class="field"><label for=${id}>${field.label}</label>
    ${field.type === "choice"
      ? html`<select ...${common} onChange=${typed}><option value="">${field.required && field.isNull ? "null" : ""}</option>${field.choices?.map(([text, label]) => html`<option key=${text} value=${text}>${label}</option>`)}</select>`
      : field.type === "json"
        ? html`<textarea ...${common} class="mono" rows="3" placeholder=${field.sketch} onInput=${typed}></textarea>`
        : field.lines
          ? html`<textarea ...${common} class="line" rows="1" onInput=${typed} onKeyDown=${entered}></textarea>`
          : html`<input ...${common} inputmode=${field.type === "text" ? null : "decimal"} autocomplete="off" onInput=${typed} />`}
    ${about}
  </div>`;
}
