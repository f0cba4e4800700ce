// What failed, over all trees, by kind.

import { query } from "../core/api.js";
import { count, many, now } from "../core/format.js";
import { html, useSignal } from "../core/html.js";
import { here, place } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { Clusters } from "../parts/clusters.js";
import { Empty, Freshness } from "../parts/feedback.js";
import { since, SPANS } from "../parts/filters.js";
import { RunList } from "../parts/runlist.js";
import { Page } from "../parts/shell.js";
import { shown } from "./treetabs.js";

export function FailuresPage() {
  const { query: asked } = useSignal(place);
  const span = SPANS[asked.get("span") ?? ""] ? (asked.get("span") ?? "") : "24h";
  const from = since(span);
  const chosen = asked.get("cluster");
  const resource = useResource(`/failures${query({ since: from })}`, { every: 15_000, same: span });
  return html`<${Page} title="Failures">
    <div class="page-head"><h1>Failures</h1>
      <div class="segments" role="group" aria-label="Since">
        ${Object.entries(SPANS).map(([key, [name]]) => html`<a key=${key} href=${here({ span: key === "24h" ? null : key })} aria-current=${span === key ? "true" : null}>${name}</a>`)}
      </div>
      <span class="push"></span><${Freshness} every=${15} />
    </div>
    ${shown(resource, (data) => {
      const clusters = Array.isArray(data) ? data : (data.clusters ?? []);
      const sum = clusters.reduce((/** @type {number} */ all, /** @type {any} */ each) => all + each.count, 0);
      const one = clusters.find((/** @type {any} */ each) => each.key === chosen);
      if (!clusters.length) return html`<${Empty} title="Nothing failed"><p class="soft">Not in this window, in any tree.</p><//>`;
      return html`<p class="soft lead">${count(sum)} ${sum === 1 ? "run" : "runs"} failed, of ${many(clusters.length, "kind")}.</p>
        <section class="big-clusters" aria-label="Kinds of failures">
          <${Clusters} clusters=${clusters} now=${now()} chosen=${chosen} most=${50} to=${(/** @type {string} */ key) => here({ cluster: key === chosen ? null : key })}
            filter=${(/** @type {string} */ key) => ({ cluster: key, since: from, all: true })} />
        </section>
        ${one?.examples?.length && html`<section class="section"><h2>Like these</h2><${RunList} runs=${one.examples} label="Examples of this failure" /></section>`}`;
    })}
  <//>`;
}
