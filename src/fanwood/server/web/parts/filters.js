// What lists are narrowed by: a time that goes on, and text that is typed.

import { html, useRef } from "../core/html.js";
import { refine } from "../core/place.js";

/** @type {Record<string, [string, number]>} */
export const SPANS = { "1h": ["Last hour", 3600], "24h": ["Last day", 86_400], "7d": ["Last week", 604_800] };

/** Where a span begins by now, in microseconds, in steps of a minute; null: there is no such span. @param {string | null} span */
export function since(span) {
  const found = SPANS[span ?? ""];
  return found ? Math.floor((Date.now() / 1000 - found[1]) / 60) * 60e6 : null;
}

/** @param {{label: string, asked: URLSearchParams}} props */
export const Span = ({ label, asked }) =>
  html`<select aria-label=${label} value=${asked.get("span") ?? ""} onChange=${(event) => refine({ span: event.currentTarget.value })}>
    <option value="">Any time</option>${Object.entries(SPANS).map(([key, [name]]) => html`<option key=${key} value=${key}>${name}</option>`)}
  </select>`;

/** A field that narrows what is listed once nobody has typed for a moment. @param {{name: string, label: string, hint?: string, asked: URLSearchParams}} props */
export function Typed({ name, label, hint = label, asked }) {
  const typing = useRef(0);
  const later = (/** @type {any} */ event) => {
    const { value } = event.currentTarget;
    clearTimeout(typing.current);
    typing.current = setTimeout(() => refine({ [name]: value.trim() || null }), 300);
  };
  return html`<input class="short" aria-label=${label} placeholder=${hint} value=${asked.get(name) ?? ""} onInput=${later} spellcheck=${false} />`;
}
