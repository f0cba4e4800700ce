// The store, as `fanwood doctor` sees it in a moment.

import { count, size, stamp, took } from "../core/format.js";
import { html, useSignal } from "../core/html.js";
import { href } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { me } from "../core/session.js";
import { total } from "../core/states.js";
import { Freshness } from "../parts/feedback.js";
import { Page } from "../parts/shell.js";
import { Bar, Legend } from "../parts/state.js";
import { shown } from "./treetabs.js";

export function StorePage() {
  const resource = useResource("/store", { every: 10_000 });
  const who = useSignal(me);
  return html`<${Page} title="Store">
    <div class="page-head"><h1>Store</h1><span class="push"></span><${Freshness} every=${10} asOf=${resource.data?.now} /></div>
    ${shown(resource, (data) => {
      const problems = data.problems ?? [];
      const unserved = data.unserved ?? [];
      return html`${problems.map((/** @type {string} */ text) => html`<p key=${text} class="banner bad-banner"><span class="glyph is-failed" aria-hidden="true">✗</span> ${text}</p>`)}
        ${unserved.length > 0 && html`<p class="banner warn-banner">No live worker serves ${unserved.join(", ")}, of which runs are queued.</p>`}
        ${!problems.length && !unserved.length && html`<p class="banner good-banner"><span class="glyph is-completed" aria-hidden="true">✓</span> Nothing is wrong that a quick look shows. <code>fanwood doctor</code> looks longer.</p>`}
        <div class="store-columns">
          <dl class="facts wide-facts">
            ${[
              ["Database", html`<code>${data.url}</code>`],
              ["Kind", `${data.kind} ${data.version}`],
              ["Replica", data.replica && html`<code>${data.replica}</code> <span class="soft">trees and lists are read there</span>`],
              ["It is behind by", data.replica && (data.lag === undefined ? "it does not say" : html`<span class=${data.lag > 5_000_000 ? "warn" : ""}>${data.lag ? took(data.lag) : "nothing"}</span>`)],
              ["Size", size(data.size ?? 0)],
              ["Schema", count(data.schema)],
              ["Durability", html`${data.durability}${data.durable ? "" : html` <span class="warn">may lose the last moments with the power</span>`}`],
              ["Its clock", stamp(data.now)],
              ["Fanwood", who?.version],
            ]
              .filter(([, value]) => value)
              .map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
          </dl>
          <section aria-labelledby="open-title"><div class="panel-head"><h2 id="open-title">Not ended yet</h2><span class="quiet">${count(total(data.counts))}</span></div>
            ${total(data.counts) ? html`<${Bar} counts=${data.counts} class="tall" /><${Legend} counts=${data.counts} to=${(/** @type {string} */ state) => href("/", { state })} />` : html`<p class="quiet">Everything has ended.</p>`}
          </section>
        </div>`;
    })}
  <//>`;
}
