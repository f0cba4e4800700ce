// What was done here, by whom, and how far it is.

import { age, count, now, percent, shortId, stamp, when } from "../core/format.js";
import { html } from "../core/html.js";
import { href } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { may } from "../core/session.js";
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
      if (!actions.length) return html`<${Empty} title="Nothing was done here yet">${may("operator") ? html`<p class="soft">Retry all failures of a kind from a tree or from <a href=${href("/failures")}>Failures</a>, and watch it here.</p>` : null}<//>`;
      return html`<ul class="deeds">${actions.map((/** @type {any} */ action) => html`<${Deed} key=${action.id} action=${action} reload=${resource.reload} />`)}</ul>`;
    })}
  <//>`;
}

const NAMES = { cluster: "failures of the kind", parent: "below", since: "since", until: "until", metadata: "with" };

/** Which runs it was about. @param {Record<string, any>} filter */
function told(filter) {
  const { all, ids, ...rest } = filter;
  const parts = Object.entries(rest).map(([name, value]) => {
    const text = name === "since" || name === "until" ? when(value, now()) : name === "tree" || name === "parent" ? shortId(value) : typeof value === "object" ? JSON.stringify(value) : value;
    return `${NAMES[name] ?? name} ${text}`;
  });
  if (ids?.length) parts.push(ids.slice(0, 3).map(shortId).join(", "));
  if (all) parts.push("in all trees");
  return parts.join(", ");
}

/** @param {any} action @param {number} seen @param {number} all */
function outcome(action, seen, all) {
  if (action.error) return `${action.error.type || action.error.kind}: ${action.error.message ?? ""}`;
  if (action.done === undefined && action.left === undefined) return `${count(seen)} of ${action.at_least ? "at least " : ""}${count(all)} looked at`;
  return `${count(action.done)} done${action.left ? `, ${count(action.left)} left alone: they had changed` : ""}`;
}

/** @param {{action: any, reload: () => void}} props */
function Deed({ action, reload }) {
  const all = action.count ?? 0;
  const seen = action.seen ?? (action.done ?? 0) + (action.left ?? 0);
  const share = action.state === "completed" ? 1 : all ? Math.min(1, seen / all) : 0;
  const filter = told(action.filter ?? {});
  return html`<li class="deed">
    <${State} state=${action.state} />
    <a class="task" href=${href(action.action === "start" ? `/r/${action.filter?.ids?.[0]}` : `/t/${action.id}`)}>${action.action.replace("_", " ")}${action.priority === undefined ? "" : ` to ${action.priority}`} ${action.at_least ? "at least " : ""}${count(all)} ${all === 1 ? "run" : "runs"}</a>
    <span class="share" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(share * 100)} aria-label=${`${action.action}: ${percent(share)}`}><span style=${{ width: `${share * 100}%` }}></span></span>
    <span class="num">${percent(share)}</span>
    <span class="deed-by quiet">${action.by ? `${action.by}, ` : ""}<span title=${stamp(action.created_at)}>${action.created_at ? `${age(now() - action.created_at)} ago` : ""}</span></span>
    <span class="deed-end">${!hasEnded(action.state) && html`<${RunButtons} run=${{ ...action, task: action.action, depth: 0 }} after=${reload} />`}</span>
    <p class="deed-text soft">${outcome(action, seen, all)}${filter ? html` <span class="quiet">· ${filter}</span>` : null}</p>
  </li>`;
}
