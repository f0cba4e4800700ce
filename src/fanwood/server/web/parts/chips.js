// What narrows a page, each with a way to take it away.

import { html } from "../core/html.js";
import { here } from "../core/place.js";

/** @param {{chips: {name: string, text: string, clears: string[]}[], children?: any}} props */
export function Chips({ chips, children }) {
  if (!chips.length) return null;
  const all = Object.fromEntries(chips.flatMap((chip) => chip.clears).map((name) => [name, null]));
  return html`<ul class="chips" aria-label="Filters">
    ${chips.map(
      ({ name, text, clears }) => html`<li key=${name}>
        <span class="quiet">${name}</span> <span class="cut">${text}</span>
        <a href=${here(Object.fromEntries(clears.map((each) => [each, null])))} aria-label=${`Remove the filter ${name} ${text}`}>✕</a>
      </li>`,
    )}
    ${chips.length > 1 && html`<li class="bare"><a class="linkish" href=${here(all)}>Show all</a></li>`}
    ${children && html`<li class="bare">${children}</li>`}
  </ul>`;
}

/** Tabs whose choice is part of the address. @param {{tabs: [string, string][], chosen: string, name?: string, label: string}} props */
export function Tabs({ tabs, chosen, name = "tab", label }) {
  return html`<nav class="tabs" aria-label=${label}>
    ${tabs.map(([key, text], at) => html`<a key=${key} href=${here({ [name]: at ? key : null })} aria-current=${chosen === key ? "true" : null}>${text}</a>`)}
  </nav>`;
}
