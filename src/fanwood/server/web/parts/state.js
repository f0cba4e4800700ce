// A state: its sign, its word and its colour; and how many runs are in which.

import { count, percent, short } from "../core/format.js";
import { classes, html } from "../core/html.js";
import { inWords, ORDER, present, STATES, total } from "../core/states.js";

/** @param {{state: string, plain?: boolean}} props plain: the sign alone, with its word for who can't see it */
export function State({ state, plain = false }) {
  const { glyph, word } = STATES[state] ?? { glyph: "?", word: state };
  return html`<span class=${classes("state", `is-${state}`)}
    ><span class="glyph" aria-hidden="true">${glyph}</span><span class=${plain ? "hidden" : ""}>${word}</span></span
  >`;
}

/** A bar of all states. @param {{counts: import("../core/states.js").Counts, class?: string}} props */
export function Bar({ counts, class: name }) {
  const all = total(counts);
  return html`<span class=${classes("bar", name)} role="img" aria-label=${all ? inWords(counts) : "no runs"}>
    ${present(counts).map(([state, n]) => html`<span key=${state} class=${`fill-${state}`} style=${{ flexGrow: n / all }}></span>`)}
  </span>`;
}

/** Counts in words; with `to`, each leads to what has this state.
 * @param {{counts: import("../core/states.js").Counts, active?: string | null, to?: (state: string) => string}} props */
export function Legend({ counts, active, to }) {
  const sum = total(counts);
  return html`<ul class="legend">
    ${ORDER.filter((state) => counts[state]).map((state) => {
      const n = counts[state] ?? 0;
      const inner = html`<span class=${`glyph is-${state}`} aria-hidden="true">${STATES[state].glyph}</span><b>${count(n)}</b> <span>${STATES[state].word}</span>`;
      return html`<li key=${state} title=${`${percent(n / sum)} of ${count(sum)}`}>
        ${to ? html`<a href=${to(state)} aria-current=${active === state ? "true" : null}>${inner}</a>` : html`<span>${inner}</span>`}
      </li>`;
    })}
  </ul>`;
}

/** In little room: signs and short numbers. @param {{counts: import("../core/states.js").Counts}} props */
export function Tally({ counts }) {
  return html`<span class="tally">
    ${present(counts).map(
      ([state, n]) => html`<span key=${state} class=${`is-${state}`} title=${`${count(n)} ${STATES[state].word}`}
        ><span class="glyph" aria-hidden="true">${STATES[state].glyph}</span>${short(n)}<span class="hidden"> ${STATES[state].word}</span></span
      >`,
    )}
  </span>`;
}
