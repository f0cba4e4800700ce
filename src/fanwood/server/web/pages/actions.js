// What was done in bulk, by whom, and how far it is.

import { age, count, now, percent, stamp } from "../core/format.js";
import { html } from "../core/html.js";
import { href } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { hasEnded } from "../core/states.js";
import { RunButtons } from "../parts/doing.js";
import { Empty, Freshness } from "../parts/feedback.js";
import { Page } from "../parts/shell.js";
import { State } from "../parts/state.js";
import { shown } from "./treetabs.js";

export function ActionsPage() {
  const resource = useResource("/actions", { every: 2000 });
  return html`<${Page} title="Actions">
    <div class="page-head"><h1>Actions</h1><span class="push"></span><${Freshness} every=${2} /></div>
    ${shown(resource, (data) => {
      const actions = Array.isArray(data) ? data : (data.actions ?? []);
      if (!actions.length) return html`<${Empty} title="Nothing was done in bulk yet"><p class="soft">Retry all failures of a kind from a tree or from <a href=${href("/failures")}>Failures</a>, and watch it here.</p><//>`;
      return html`<ul class="deeds">${actions.map((/** @type {any} */ action) => html`<${Deed} key=${action.id} action=${action} reload=${resource.reload} />`)}</ul>`;
    })}
  <//>`;
}

/** @param {{action: any, reload: () => void}} props */
function Deed({ action, reload }) {
  const done = action.done ?? 0;
  const all = action.count ?? action.total ?? 0;
  const share = all ? Math.min(1, done / all) : hasEnded(action.state) ? 1 : 0;
  const filter = typeof action.filter === "object" && action.filter ? Object.entries(action.filter).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ") : (action.filter ?? "");
  return html`<li class="deed">
    <${State} state=${action.state} />
    <a class="task" href=${href(`/t/${action.id}`)}>${action.action} ${count(all)} ${all === 1 ? "run" : "runs"}</a>
    <span class="share" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(share * 100)} aria-label=${`${action.action}: ${percent(share)}`}><span style=${{ width: `${share * 100}%` }}></span></span>
    <span class="num">${percent(share)}</span>
    <span class="deed-by quiet">${action.by ? `${action.by}, ` : ""}<span title=${stamp(action.created_at)}>${action.created_at ? `${age(now() - action.created_at)} ago` : ""}</span></span>
    <span class="deed-end">${!hasEnded(action.state) && html`<${RunButtons} run=${{ ...action, task: action.action, depth: 0 }} after=${reload} />`}</span>
    <p class="deed-text soft">${count(done)} of ${count(all)} done${action.skipped ? `, ${count(action.skipped)} left alone` : ""}${filter ? html` <span class="quiet">· ${filter}</span>` : null}</p>
  </li>`;
}
