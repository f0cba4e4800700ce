// What is left of each limit, and who has spent most.

import { amount, shortId } from "../core/format.js";
import { html } from "../core/html.js";
import { href } from "../core/place.js";

/** An amount that there is. @param {string | undefined} text */
const some = (text) => (Number(text ?? 0) ? amount(text) : null);

/** @param {{limits?: any[], spent?: any[], cut?: boolean, id: string, own: string}} props own: how the run `id` is called */
export function BudgetFacts({ limits = [], spent = [], cut, id, own }) {
  const whose = (/** @type {string} */ run) => (run === id ? own : html`<a class="linkish mono" href=${href(`/r/${run}`)}>${shortId(run)}</a>`);
  return html`<dl class="facts">
    ${limits.map((each) => html`<div key=${each.unit}><dt>${each.unit}</dt><dd>${each.unit === "depth" ? `down to ${each.amount}` : html`${amount(each.left)} of ${amount(each.amount)} left${some(each.held) ? html`, ${some(each.held)} held` : null}`}${each.run_id === id ? null : html` <span class="quiet">of ${whose(each.run_id)}</span>`}</dd></div>`)}
    ${spent.map((each) => html`<div key=${`${each.run_id} ${each.unit}`}><dt>spent</dt><dd>${amount(each.amount)} ${each.unit} <span class="quiet">by ${each.task} ${whose(each.run_id)}</span></dd></div>`)}
    ${cut ? html`<div><dt></dt><dd class="quiet">There are more spends than were looked at.</dd></div>` : null}
  </dl>`;
}

/** What part of a limit is used, held and left. @param {{each: any}} props */
function Gauge({ each }) {
  const part = (/** @type {string | undefined} */ text) => `${Math.min(100, (100 * Number(text ?? 0)) / (Number(each.amount) || 1))}%`;
  const spent = `${amount(each.used)} used${some(each.held) ? `, ${some(each.held)} held` : ""}, ${amount(each.left)} left`;
  return html`<span class="gauge" role="img" aria-label=${spent} title=${spent}><span class="gauge-used" style=${{ width: part(each.used) }}></span><span class="gauge-held" style=${{ width: part(each.held) }}></span></span>`;
}

/** A tree's budget. @param {{id: string, data: any}} props */
export function TreeBudget({ id, data }) {
  const { limits = [], spent = [] } = data;
  const whose = (/** @type {string} */ run) => html`<a class="linkish mono" href=${href(`/r/${run}`)}>${run === id ? "the root" : shortId(run)}</a>`;
  return html`<section class="panel budget" aria-labelledby="budget-title">
    <div class="panel-head"><h2 id="budget-title">Budget</h2></div>
    <div class="budget-columns">
      ${limits.length > 0 && html`<div class="scroller" tabindex="0" role="region" aria-label="What is left"><table class="list"><caption class="hidden">What is left of each limit</caption>
        <thead><tr><th scope="col">Limit</th><th scope="col" class="num">Left</th><th scope="col" class="num">Of</th><th scope="col" class="num">Held</th><th scope="col" class="grow">Used</th></tr></thead>
        <tbody>${limits.map((/** @type {any} */ each) =>
          each.unit === "depth"
            ? html`<tr key="depth"><td>depth</td><td class="num"></td><td class="num">${each.amount}</td><td class="num"></td><td class="quiet">no deeper</td></tr>`
            : html`<tr key=${each.unit}><td class="unit">${each.unit}</td><td class=${`num${some(each.left) ? "" : " is-failed"}`}>${amount(each.left)}</td><td class="num">${amount(each.amount)}</td><td class="num">${some(each.held)}</td><td><${Gauge} each=${each} /></td></tr>`,
        )}</tbody></table></div>`}
      ${spent.length > 0 && html`<div class="scroller" tabindex="0" role="region" aria-label="Who has spent"><table class="list"><caption class="hidden">Who has spent most</caption>
        <thead><tr><th scope="col">Spent most</th><th scope="col" class="num">Amount</th><th scope="col">Unit</th></tr></thead>
        <tbody>${spent.map((/** @type {any} */ each) => html`<tr key=${`${each.run_id} ${each.unit}`}><td>${each.task} ${whose(each.run_id)}</td><td class="num">${amount(each.amount)}</td><td class="unit">${each.unit}</td></tr>`)}</tbody></table></div>`}
    </div>
    ${data.spent_is_cut && html`<p class="quiet tab-note">There are more spends than were looked at.</p>`}
  </section>`;
}
