// Failures by kind: a row each, however many there are.

import { age, count, many, shortId } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { href } from "../core/place.js";
import { BulkButton } from "./doing.js";

/**
 * @param {object} props
 * @param {any[]} props.clusters
 * @param {number} props.now
 * @param {string | null} [props.chosen]
 * @param {(key: string) => string} props.to what shows this kind only
 * @param {(key: string) => Record<string, unknown>} props.filter what names it in an action
 * @param {number} [props.most]
 */
export function Clusters({ clusters, now, chosen, to, filter, most = 5 }) {
  const [open, setOpen] = useState(false);
  return html`<ul class="clusters">
      ${clusters.slice(0, open ? 100 : most).map((cluster) => html`<${Cluster} key=${cluster.key} ...${{ cluster, now, chosen, to, filter }} />`)}
    </ul>
    ${clusters.length > most && html`<button class="link-button quiet" onClick=${() => setOpen(!open)}>${open ? "Fewer" : many(clusters.length - most, "more kind", "more kinds")}</button>`}`;
}

/** @param {any} props */
function Cluster({ cluster, now, chosen, to, filter }) {
  const title = `${cluster.type}: ${cluster.message}`;
  return html`<li class=${chosen === cluster.key ? "chosen" : ""}>
    <p class="cluster-head">
      <span class="glyph is-failed" aria-hidden="true">✗</span><b class="is-failed">${count(cluster.count)}</b>
      <a class="cluster-type" href=${to(cluster.key)} aria-current=${chosen === cluster.key ? "true" : null}>${cluster.type || "error"}</a>
      <span class="quiet push nowrap" title=${`first ${age(now - cluster.first)} ago, last ${age(now - cluster.last)} ago`}>${age(now - cluster.last)} ago</span>
      <${BulkButton} action="retry" label="Retry these" filter=${filter(cluster.key)} describe=${`${count(cluster.count)} failed with ${title}`} />
    </p>
    <p class="cluster-text" title=${title}>${cluster.message}</p>
    <p class="cluster-more quiet cut">
      ${(cluster.tasks ?? []).join(", ")}${cluster.examples?.length ? html` · like ${cluster.examples.map((run, at) => html`${at ? ", " : ""}<a key=${run.id} class="linkish mono" href=${href(`/r/${run.id}`)}>${shortId(run.id)}</a>`)}` : null}
    </p>
  </li>`;
}
