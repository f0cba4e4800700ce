// The header's figures: how fast, how long still, how full, how stuck, how much.

import { count, range, rate, took } from "../core/format.js";
import { html } from "../core/html.js";
import { href } from "../core/place.js";
import { begunAgain, hasEnded } from "../core/states.js";

/** Workers take some ahead, so that no slot waits: those are running for the store, and not yet for a person.
 * @param {{now: number, slots: number}} props */
function InFlight({ now, slots }) {
  const ahead = slots ? Math.max(0, now - slots) : 0;
  return html`${count(now - ahead)}<span class="quiet"> / ${count(slots)} slots${ahead ? `, ${count(ahead)} taken ahead` : ""}</span>`;
}

/** @param {{view: any}} props */
export function Figures({ view }) {
  const { root } = view;
  const { queued, running, waiting } = view.counts;
  const over = hasEnded(root.state) && !queued && !running && !waiting;
  /** @type {[string, any, string?][]} */
  const figures = [];
  if (!over) {
    figures.push(["rate now", rate(view.rate ?? 0)]);
    figures.push(["ends in", view.eta ? `${view.eta_at_least ? "at least " : ""}${range(view.eta)}` : view.is_stalled ? "stalled" : "not yet known", view.is_stalled ? "is-failed" : view.eta ? "" : "quiet"]);
    figures.push(["in flight", html`<${InFlight} now=${view.in_flight ?? 0} slots=${view.slots ?? 0} />`]);
    if (view.oldest_queued) figures.push(["oldest queued", took(view.oldest_queued > 1e14 ? view.as_of - view.oldest_queued : view.oldest_queued)]);
  } else if (root.started_at && root.finished_at) {
    figures.push(["took", took(root.finished_at - root.started_at)]);
    const seconds = (root.finished_at - root.started_at) / 1e6;
    const ended = Object.values(view.counts).reduce((sum, each) => sum + each, 0);
    if (ended > 1 && seconds > 0) figures.push(["rate", rate(ended / seconds)]);
  }
  if (view.busy || over) figures.push(["busy", took(view.busy ?? 0)]);
  if (begunAgain(root)) figures.push(["attempt", count(root.attempt)]);
  return html`<dl class="figures">
      ${figures.map(([name, value, tone]) => html`<div key=${name}><dt>${name}</dt><dd class=${tone ?? ""}>${value}</dd></div>`)}
    </dl>
    ${view.unserved?.length
      ? html`<p class="banner warn-banner" role="status">No live worker serves ${view.unserved.map((name, at) => html`${at ? ", " : ""}<b>${name}</b>`)}: its queued runs wait for one. <a href=${href("/workers")}>Workers</a></p>`
      : null}
    ${root.error && html`<p class="banner bad-banner"><span class="glyph is-failed" aria-hidden="true">✗</span> <b>${root.error.type || root.error.kind}</b>${root.error.message ? `: ${root.error.message}` : ""} <a href=${href(`/r/${root.id}`)}>See the root</a></p>`}`;
}
