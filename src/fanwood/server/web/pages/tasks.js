// All tasks: how fast, how long, how often they fail, and who serves them.

import { count, percent, rate, took } from "../core/format.js";
import { html, useSignal } from "../core/html.js";
import { href, place, refine } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { may, me } from "../core/session.js";
import { Empty, Freshness, useSome } from "../parts/feedback.js";
import { Page } from "../parts/shell.js";
import { shown } from "./treetabs.js";

const AT_ONCE = 50;

export function TasksPage() {
  useSignal(me);
  const { query } = useSignal(place);
  const wanted = (query.get("task") ?? "").toLowerCase();
  const resource = useResource("/tasks", { every: 5000 });
  return html`<${Page} title="Tasks">
    <div class="page-head"><h1>Tasks</h1><span class="sub" title="Rates, failures and durations are told from some runs of the last hour">of the last hour</span><span class="push"></span><${Freshness} every=${5} /></div>
    ${shown(resource, (data) => {
      const all = data.tasks ?? [];
      const tasks = all.filter((/** @type {any} */ task) => task.name.toLowerCase().includes(wanted));
      if (!all.length) return html`<${Empty} title="No task was ever published here"><p class="soft">A worker publishes its tasks when it starts: <code>fanwood worker app:fanwood</code></p><//>`;
      return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
          <input aria-label="Filter tasks" placeholder="Filter tasks" value=${query.get("task") ?? ""} spellcheck=${false} onInput=${(event) => refine({ task: event.currentTarget.value })} />
        </form>
        <${Lines} tasks=${tasks} most=${data.most} />
        ${!tasks.length && html`<p class="quiet pad">No task is called so.</p>`}`;
    })}
  <//>`;
}

/** @param {{tasks: any[], most: number}} props most: of a queue that are counted */
function Lines({ tasks, most }) {
  const [some, more] = useSome(tasks, AT_ONCE);
  return html`<div class="scroller" tabindex="0" role="region" aria-label="Tasks"><table class="list tasks-list">
    <caption class="hidden">Tasks</caption>
    <thead><tr>
      <th scope="col">Task</th><th scope="col" class="num">Workers</th><th scope="col" class="num wide">Rate</th><th scope="col" class="num wide">Running</th><th scope="col" class="num">Queued</th>
      <th scope="col" class="num">Failed</th><th scope="col" class="num wide">p50</th><th scope="col" class="num wide">p95</th><th scope="col"><span class="hidden">Start a run</span></th>
    </tr></thead>
    <tbody>
      ${some.map(
        (task) => html`<tr key=${task.name}>
          <td class="grow"><a class="task" href=${href("/", { task: task.name })}>${task.name}</a>${task.kind && task.kind !== "task" ? html` <span class="tag">${task.kind}</span>` : null}
            ${task.description && html`<p class="quiet cut about">${task.description}</p>`}</td>
          <td class="num" data-name=${task.serving ? (task.serving === 1 ? " worker" : " workers") : " serve it"}>${task.serving ? count(task.serving) : html`<span class=${task.queued ? "is-failed" : "quiet"}>none</span>`}</td>
          <td class="num wide">${task.rate ? rate(task.rate) : zero}</td>
          <td class="num wide">${task.running ? html`<span class="is-running">${count(task.running)}</span>` : zero}</td>
          <td class="num" data-name=" queued">${task.queued ? `${count(task.queued)}${task.queued === most ? "+" : ""}` : zero}</td>
          <td class="num" data-name=" failed" title=${task.ended ? `${count(task.failed)} of ${count(task.ended)} that were looked at` : null}>${task.ended ? html`<span class=${task.failed ? "is-failed" : "quiet"}>${percent((task.failed ?? 0) / task.ended)}</span>` : zero}</td>
          <td class="num wide">${took(task.p50) || zero}</td><td class="num wide">${took(task.p95) || zero}</td>
          <td class="num">${may("operator") ? html`<a class="button small" href=${href(`/tasks/${encodeURIComponent(task.name)}`)} aria-label=${`Start a run of ${task.name}`}>Start</a>` : null}</td>
        </tr>`,
      )}
    </tbody>
  </table></div>${more}`;
}

const zero = html`<span class="quiet none">–</span>`;
