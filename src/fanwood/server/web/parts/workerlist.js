// Workers: how full they are, and how long their lease holds. A lane of cells, one for each slot.

import { age, count, shortId, took } from "../core/format.js";
import { html } from "../core/html.js";
import { href } from "../core/place.js";
import { useSome } from "./feedback.js";

const AT_ONCE = 20;
/** Cells of a worker, at most; if it has more slots, one is several of them. @param {number} workers */
const cellsOf = (workers) => (workers > 5 ? 40 : 200);

/** @param {{workers: any[], asOf: number, root?: string}} props root: its runs stand out */
export function WorkerList({ workers, asOf, root }) {
  const [some, more] = useSome(workers, AT_ONCE);
  return html`<ul class="workers">${some.map((worker) => html`<${Worker} key=${worker.id} worker=${worker} asOf=${asOf} root=${root} most=${cellsOf(workers.length)} />`)}</ul>${more}`;
}

/** @param {{worker: any, asOf: number, root?: string, most: number}} props most: cells */
function Worker({ worker, asOf, root, most }) {
  const left = worker.lease_expires_at - asOf;
  const [slots, busy] = [worker.slots ?? 0, worker.running ?? 0];
  const cells = Math.min(slots, most);
  const full = Math.ceil((Math.min(busy, slots) * cells) / (slots || 1));
  const mine = new Set((worker.runs ?? []).filter((/** @type {any} */ run) => run.root_id === root).map((/** @type {any} */ run) => run.id));
  return html`<li class=${worker.is_live ? "worker" : "worker gone"}>
    <div class="worker-head">
      <span class=${`dot ${worker.is_live ? "good" : "bad"}`} aria-hidden="true"></span>
      <b>${worker.name}</b><span class="quiet" title=${worker.host}>${worker.host.split("/")[0]} · pid ${worker.pid}</span>
      <span class="push nowrap">${worker.is_live ? html`lease <b>${took(Math.max(0, left))}</b> left` : html`<span class="is-failed">lost ${age(-left)} ago</span>`}</span>
      <span class="quiet nowrap">up ${age(asOf - worker.started_at)}</span>
    </div>
    ${slots
      ? html`<div class="lanes-line"><div class="lanes" role="img" aria-label=${`${count(busy)} of ${count(slots)} slots busy`}>
            ${Array.from({ length: cells }, (_, at) => {
              const run = cells === slots && worker.runs?.[at];
              return html`<span key=${at} class=${at < full ? (run && mine.has(run.id) ? "slot mine" : "slot full") : "slot"}></span>`;
            })}
          </div><p class="lanes-text" aria-hidden="true"><b>${count(busy)}</b><span class="quiet"> / ${count(slots)} slots</span></p></div>
          <${Executing} runs=${worker.runs ?? []} asOf=${asOf} busy=${busy} />`
      : html`<p class="quiet">A client: it spawns and waits, and has no slots.</p>`}
    ${worker.tasks?.length ? html`<p class="serves"><span class="quiet">serves</span> ${worker.tasks.slice(0, 12).map((/** @type {string} */ task) => html`<a key=${task} class="tag" href=${href("/tasks", { task })}>${task}</a> `)}${worker.tasks.length > 12 ? html`<span class="quiet">and ${worker.tasks.length - 12} more</span>` : null}</p>` : null}
  </li>`;
}

/** @param {{runs: any[], asOf: number, busy: number}} props */
function Executing({ runs, asOf, busy }) {
  if (!runs.length) return null;
  return html`<ul class="executing">
    ${runs.slice(0, 6).map((run) => html`<li key=${run.id}><span class="glyph is-running" aria-hidden="true">▶</span><a class="task" href=${href(`/r/${run.id}`)}>${run.task}</a> <span class="quiet mono">${run.key ?? shortId(run.id)}</span> <span class="soft">${run.started_at ? took(asOf - run.started_at) : ""}</span></li>`)}
    ${busy > 6 ? html`<li class="quiet">and ${count(busy - 6)} more</li>` : null}
  </ul>`;
}
