// What else is to be seen of a tree: the slowest, the critical path, a waterfall of examples, and who works on it.

import { query } from "../core/api.js";
import { count, took } from "../core/format.js";
import { html, useSignal } from "../core/html.js";
import { href } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { asTables } from "../draw/canvas.js";
import { Empty, Loading, Refused } from "../parts/feedback.js";
import { RunList } from "../parts/runlist.js";
import { State } from "../parts/state.js";
import { Detail } from "../parts/treetable.js";
import { Waterfall } from "../parts/waterfall.js";
import { WorkerList } from "../parts/workerlist.js";

/** What there is of a thing, or why there is nothing. @param {import("../core/resource.js").Resource<any>} resource @param {(data: any) => any} draw */
export function shown({ data, error, reload }, draw) {
  if (data) return draw(data);
  return error ? html`<${Refused} error=${error} retry=${reload} />` : html`<${Loading} />`;
}

/** @param {{id: string, task: string | null}} props */
export function Slowest({ id, task }) {
  return shown(useResource(`/trees/${id}/slowest${query({ task })}`), (data) =>
    data.runs?.length ? html`<${RunList} runs=${data.runs} label="The slowest runs" />` : html`<${Empty} title="Nothing has ended yet" />`,
  );
}

/** @param {{id: string}} props */
export function CriticalPath({ id }) {
  return shown(useResource(`/trees/${id}/critical-path`), (data) => {
    const steps = Array.isArray(data) ? data : (data.steps ?? []);
    const whole = steps.reduce((sum, step) => sum + (step.own ?? 0), 0) || 1;
    return html`<p class="quiet tab-note">The chain that made this tree long: of each family the run that ended last. The bar is its share of the whole time, in which it waited for nobody below it.</p>
      <div class="scroller" tabindex="0" role="region" aria-label="Critical path"><table class="list">
        <caption class="hidden">The critical path</caption>
        <thead><tr><th scope="col">Run</th><th scope="col">State</th><th scope="col" class="grow">Own time</th><th scope="col" class="num">Own</th><th scope="col" class="num">Siblings</th></tr></thead>
        <tbody>
          ${steps.map(
            ({ run, own = 0, siblings = 0 }, at) => html`<tr key=${run.id}>
              <td><span class="run-name" style=${{ paddingLeft: `${Math.min(at, 12) * 16}px` }}><${State} state=${run.state} plain /><a class="task" href=${href(`/r/${run.id}`)}>${run.task}</a>${run.key && html`<span class="soft cut">${run.key}</span>`}</span></td>
              <td><span class="detail"><${Detail} run=${run} />${run.state === "completed" ? html`<span class="soft">done</span>` : null}</span></td>
              <td class="grow"><span class="share"><span style=${{ width: `${Math.max(0.3, (own / whole) * 100)}%` }}></span></span></td>
              <td class="num">${took(own)}</td>
              <td class="num quiet">${siblings ? count(siblings) : "–"}</td>
            </tr>`,
          )}
        </tbody>
      </table></div>`;
  });
}

/** @param {{id: string, focus: string | null}} props */
export function WaterfallTab({ id, focus }) {
  const tables = useSignal(asTables);
  return shown(useResource(`/trees/${id}/waterfall${query({ focus })}`), (data) =>
    !data.lanes?.length
      ? html`<${Empty} title="Nothing has begun yet" />`
      : tables
        ? html`<${RunList} runs=${data.lanes.map((/** @type {any} */ lane) => lane.run)} label="Examples of each level" />`
        : html`<${Waterfall} data=${data} root=${id} focus=${focus} />`,
  );
}

/** @param {{id: string, tasks: any[]}} props */
export function TreeWorkers({ id, tasks }) {
  const names = new Set(tasks.map((task) => task.task));
  return shown(useResource("/workers", { every: 5000 }), (data) => {
    const serving = (data.workers ?? []).filter((/** @type {any} */ worker) => worker.slots && (worker.tasks ?? []).some((/** @type {string} */ task) => names.has(task)));
    return serving.length ? html`<${WorkerList} workers=${serving} asOf=${data.as_of} root=${id} />` : html`<${Empty} title="No worker serves the tasks of this tree"><p class="soft">Start one: <code>fanwood worker app:fanwood</code></p><//>`;
  });
}
