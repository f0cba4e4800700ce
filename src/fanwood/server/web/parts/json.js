// JSON as a tree that opens where it is wanted. Text stays text: nothing becomes a link, nothing is run.

import { count } from "../core/format.js";
import { html, useState } from "../core/html.js";

const PER_PAGE = 100;
const LONG = 400;

/** @param {{value: unknown, name?: string, deep?: number}} props */
export function Json({ value, name, deep = 0 }) {
  const [open, setOpen] = useState(deep < 2);
  const [shown, setShown] = useState(PER_PAGE);
  const key = name === undefined ? null : html`<span class="json-key">${name}</span><span class="quiet">: </span>`;
  if (typeof value !== "object" || value === null) return html`<div class="json-line">${key}<${Leaf} value=${value} /></div>`;
  const isList = Array.isArray(value);
  const entries = Object.entries(value);
  const [from, to] = isList ? "[]" : "{}";
  if (!entries.length) return html`<div class="json-line">${key}<span class="quiet">${from}${to}</span></div>`;
  const size = isList ? `${count(entries.length)} ${entries.length === 1 ? "item" : "items"}` : `${count(entries.length)} ${entries.length === 1 ? "key" : "keys"}`;
  return html`<div class="json-node">
    <button class="json-line json-toggle" aria-expanded=${open} onClick=${() => setOpen(!open)}>
      <span class="twist" aria-hidden="true"></span>${key}<span class="quiet">${open ? from : `${from} ${size} ${to}`}</span>
    </button>
    ${open &&
    html`<div class="json-in">
        ${entries.slice(0, shown).map(([each, inner]) => html`<${Json} key=${each} name=${isList ? undefined : each} value=${inner} deep=${deep + 1} />`)}
        ${entries.length > shown && html`<button class="link-button soft" onClick=${() => setShown(shown + PER_PAGE)}>${count(entries.length - shown)} more</button>`}
      </div>
      <div class="json-line quiet">${to}</div>`}
  </div>`;
}

/** @param {{value: unknown}} props */
function Leaf({ value }) {
  const [whole, setWhole] = useState(false);
  if (typeof value !== "string") return html`<span class=${`json-${value === null ? "null" : typeof value}`}>${String(value)}</span>`;
  const cut = !whole && value.length > LONG;
  return html`<span class="json-string">"${cut ? value.slice(0, LONG) : value}${cut ? "" : '"'}</span>
    ${cut && html`<button class="link-button soft" onClick=${() => setWhole(true)}> … ${count(value.length - LONG)} more characters</button>`}`;
}
