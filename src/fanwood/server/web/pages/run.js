// One run: where it stands and why, what went in and came out, what it logged, what is around it.

import { age, count, many, now, shortId, stamp, took, when } from "../core/format.js";
import { html, lazy, useEffect, useSignal, useState } from "../core/html.js";
import { useKeys } from "../core/keys.js";
import { go, href, place } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { may, me } from "../core/session.js";
import { hasEnded, inWords, isWait, named, total, waitsFor } from "../core/states.js";
import { sum } from "../core/branches.js";
import { listen } from "../core/live.js";
import { BudgetFacts } from "../parts/budget.js";
import { Tabs } from "../parts/chips.js";
import { KinTag } from "../parts/kin.js";
import { RunButtons } from "../parts/doing.js";
import { Freshness, Loading, Refused } from "../parts/feedback.js";
import { Logs } from "../parts/logs.js";
import { ErrorPanel, Payload } from "../parts/payload.js";
import { Page } from "../parts/shell.js";
import { Bar, State } from "../parts/state.js";
import { lasted, TreeTable } from "../parts/treetable.js";

const SettleRun = lazy(() => import("../parts/settle.js"), "SettleRun");
const RunStream = lazy(() => import("../parts/stream.js"), "RunStream");

/** @param {{id: string}} props */
export function RunPage({ id }) {
  const { query } = useSignal(place);
  useSignal(me);
  const detail = useResource(`/runs/${id}`);
  const { data, error, reload } = detail;
  const run = data?.run;
  const beat = useTreeBeat(run, reload);
  const [before, after] = [data?.before?.at(-1), data?.after?.[0]];
  const to = (/** @type {any} */ other) => other && go(href(`/r/${other.id}`));
  useKeys(() => [
    { keys: "p", does: "Up to the parent", run: () => to(data?.ancestors?.at(-1)) },
    { keys: "r", does: "Its tree", run: () => run && go(href(`/t/${run.root_id}`)) },
    { keys: "[", does: "The sibling before", run: () => to(before) },
    { keys: "]", does: "The next sibling", run: () => to(after) },
  ]);
  if (!data) return html`<${Page} title="Run"><h1 class="hidden">Run</h1>${error ? html`<${Refused} error=${error} retry=${reload} />` : html`<${Loading} lines=${10} />`}<//>`;
  const families = data.families ?? [];
  const of = (/** @type {boolean} */ wait) => sum(families.filter((/** @type {any} */ family) => isWait(family.task) === wait).map((/** @type {any} */ family) => family.counts));
  const [below, waits] = [of(false), of(true)];
  const name = waitsFor(run) ? `${named(run.task)} ${waitsFor(run)}` : named(run.task);
  return html`<${Page} title=${`${name} ${shortId(id)}`}>
    <${Way} data=${data} />
    <div class="page-head tree-title">
      <h1>${name}</h1><${State} state=${run.state} />
      ${lasted(run) && html`<span class="soft nowrap">${lasted(run)}</span>`}
      ${run.is_suspended && html`<span class="tag" title="Its code is unloaded while it waits for others">suspended</span>`}
      <${KinTag} kin=${run.kin} />
      ${run.kind !== "task" && html`<span class="tag">${run.kind}</span>`}
      ${data.paused && html`<span class="tag" title=${`by ${data.paused.by}`}>${data.paused.run_id === id ? "paused" : "paused from above"}</span>`}
      <span class="push"></span>
      <${Freshness} final=${hasEnded(run.state)} asOf=${hasEnded(run.state) ? run.finished_at : undefined} />
      <${RunButtons} run=${run} failed=${below.failed} more=${!isWait(run.task)} paused=${isWait(run.task) ? undefined : (data.paused ?? null)} after=${reload} />
    </div>
    ${!hasEnded(run.state) && html`<${Why} id=${id} beat=${beat} />`}
    ${run.kind === "promise" && !hasEnded(run.state) && may("operator") && html`<${SettleRun} id=${id} after=${reload} />`}
    <div class="run-columns">
      <div class="run-main">
        <${ErrorPanel} error=${data.error} id=${id} />
        ${families.length > 0 &&
        html`<section class="section" aria-labelledby="children-title">
          <div class="panel-head"><h2 id="children-title">${total(below) ? "Children" : "Waits and recorded steps"}</h2><span class="quiet">${count(total(below) || total(waits))}${families.some((/** @type {any} */ family) => family.more) ? "+" : ""}</span>${total(below) > 0 && html`<span class="grow-bar"><${Bar} counts=${below} /></span>`}<span class="soft only-wide">${inWords(total(below) ? below : waits)}${total(below) && total(waits) ? `, and ${many(total(waits), "wait or recorded step", "waits and recorded steps")}` : ""}</span></div>
          <${TreeTable} root=${id} bare beat=${hasEnded(run.state) ? 0 : beat} />
        </section>`}
        ${data.has_stream && me.peek()?.payloads && html`<${RunStream} key=${id} id=${id} over=${hasEnded(run.state)} />`}
        <${Parts} id=${id} data=${data} part=${query.get("part") ?? "input"} />
        <section class="section" aria-labelledby="logs-title"><${Logs} id=${id} over=${hasEnded(run.state)} /></section>
      </div>
      <aside class="run-side" aria-label="Details"><${Facts} data=${data} /><${Budget} id=${id} data=${data} /><${Attempts} attempts=${data.attempts ?? []} open=${run.state === "running" || run.state === "waiting"} /></aside>
    </div>
    <${Neighbours} before=${before} after=${after} />
  <//>`;
}

/** Looks again when its tree has changed, at most every two seconds. @param {any} run @param {() => void} reload */
function useTreeBeat(run, reload) {
  const [beat, setBeat] = useState(0);
  const open = run && !hasEnded(run.state);
  useEffect(() => {
    if (!open) return;
    let waiting = 0;
    const stop = listen(`tree:${run.root_id}`, ({ event }) => {
      if (event === "hello" || waiting) return;
      waiting = setTimeout(() => {
        waiting = 0;
        setBeat((old) => old + 1);
        reload();
      }, 2000);
    });
    return () => (stop(), clearTimeout(waiting));
  }, [run?.root_id, open]);
  return beat;
}

/** @param {{data: any}} props */
function Way({ data }) {
  const { run, ancestors = [] } = data;
  const shown = ancestors.length > 6 ? [...ancestors.slice(0, 2), null, ...ancestors.slice(-3)] : ancestors;
  return html`<nav class="way" aria-label="Ancestors"><ol>
    <li><a href=${href("/")}>Trees</a></li>
    ${shown.map((above, at) =>
      above
        ? html`<li key=${above.id}><a href=${href(at ? `/r/${above.id}` : `/t/${above.id}`)}>${above.task}${above.key ? html` <span class="quiet">${above.key}</span>` : null}</a></li>`
        : html`<li key="gap" class="quiet" title=${ancestors.map((/** @type {any} */ each) => each.task).join(" / ")}>${ancestors.length - 5} more</li>`,
    )}
    <li aria-current="page">${ancestors.length ? null : html`<a href=${href(`/t/${run.id}`)}>its tree</a> `}<span class="mono">${run.key ?? shortId(run.id)}</span></li>
  </ol></nav>`;
}

/** @param {{id: string, beat: number}} props */
function Why({ id, beat }) {
  const { data, reload } = useResource(`/runs/${id}/why`, { every: 5000 });
  useEffect(() => void (beat && reload()), [beat]);
  if (!data) return null;
  return html`<section class="why" aria-label="Why it is where it is">
    <p>${data.text}</p>
    ${data.command && html`<p class="soft">What helps: <code>${data.command}</code></p>`}
  </section>`;
}

/** @param {{id: string, data: any, part: string}} props */
function Parts({ id, data, part }) {
  /** @type {[string, string][]} */
  const tabs = [["input", "Input"]];
  if (data.has_output) tabs.push(["output", "Output"]);
  if (data.metadata_keys?.length) tabs.push(["metadata", "Metadata"]);
  const chosen = tabs.some(([name]) => name === part) ? part : "input";
  return html`<section class="section" aria-label="Payloads">
    <${Tabs} label="Payloads" name="part" tabs=${tabs} chosen=${chosen} />
    <${Payload} key=${chosen} path=${`/runs/${id}/payload/${chosen}`} part=${chosen} />
  </section>`;
}

/** @param {number | undefined} us */
const moment = (us) => us && html`<time title=${stamp(us)}>${when(us, now(), true)}</time>`;

/** @type {Record<string, string>} */
const FORKS = { fork: "Fork of", copy: "Copy of", again: "Instead of" };
/** @param {string} id */
const runLink = (id) => html`<a class="mono" href=${href(`/r/${id}`)}>${shortId(id)}</a>`;

/** @param {{data: any}} props */
function Facts({ data }) {
  const { run } = data;
  /** @type {[string, any][]} */
  const facts = [
    ["Run", html`<code class="whole-id">${run.id}</code>`],
    [run.depth ? "Key" : "Idempotency key", run.key && html`<span class="mono whole-id">${run.key}</span>`],
    ["Created", moment(run.created_at)],
    ["Started", moment(run.started_at)],
    ["Ended", moment(run.finished_at)],
    ["Due", run.due_at && !hasEnded(run.state) ? moment(run.due_at) : null],
    ["Queued for", run.started_at && run.started_at - run.created_at > 1000 ? took(run.started_at - run.created_at) : null],
    ["Busy", run.busy ? took(run.busy) : null],
    ["Worker", run.worker && html`<a class="linkish" href=${href("/workers")}>${run.worker}</a>`],
    ["Attempt", run.attempt ? count(run.attempt) : null],
    ["Version", data.version && html`<span class="mono">${data.version}</span>`],
    ["Started over", data.started_over && html`${many(data.started_over, "time")}, last ${moment(data.started_over_at)}`],
    [data.fork && FORKS[data.fork.how], data.fork && html`${runLink(data.fork.of)}${data.fork.at && html` at ${runLink(data.fork.at)}`}${data.fork.changed ? ", with another input" : ""}${data.fork.by && `, by ${data.fork.by}`}`],
    ["Forks", data.forks?.length && html`${data.forks.slice(0, 5).map((/** @type {string} */ id) => html`${runLink(id)} `)}${data.forks.length > 5 && `and ${count(data.forks.length - 5)} more`}`],
    ["Retries used", run.retries ? count(run.retries) : null],
    ["Workers lost", run.deaths ? html`<span class="warn">${count(run.deaths)}</span>` : null],
    ["Priority", run.priority ? count(run.priority) : null],
    ["Deadline", run.deadline && html`${moment(run.deadline)}${run.deadline > now() && !hasEnded(run.state) ? ` (in ${age(run.deadline - now())})` : ""}`],
    ["set by", run.deadline && data.deadline_by],
    ["Depth", count(run.depth)],
  ];
  return html`<dl class="facts">${facts.filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** What is left of each limit that holds for it, and who has spent most in its tree. @param {{id: string, data: any}} props */
function Budget({ id, data }) {
  const { budget = [], spent = [], spent_is_cut } = data;
  if (!budget.length && !spent.length) return null;
  return html`<h3 class="side-title">Budget</h3><${BudgetFacts} limits=${budget} spent=${spent} cut=${spent_is_cut} id=${id} own="this run" />`;
}

/** @param {{attempts: any[], open: boolean}} props open: the newest may still be under way */
function Attempts({ attempts, open }) {
  if (!attempts.length) return null;
  return html`<h3 class="side-title">${many(attempts.length, "attempt")}</h3>
    <ol class="attempts" reversed>
      ${attempts.toReversed().slice(0, 30).map(
        (each, at) => html`<li key=${each.number}>
          <span class="quiet">${each.number}</span>${each.error || hasEnded(each.state) || (!at && open) ? html`<${State} state=${each.state} />` : html`<span class="warn">worker lost</span>`}<span class="push num">${lasted(each)}</span>
          ${each.error && html`<p class="cut is-failed" title=${each.error.message}>${each.error.type || each.error.kind}: ${each.error.message}</p>`}
          ${each.worker && html`<p class="quiet cut">${/^\d+$/.test(each.worker) ? "worker " : ""}${each.worker}</p>`}
        </li>`,
      )}
    </ol>`;
}

/** @param {{before?: any, after?: any}} props */
function Neighbours({ before, after }) {
  if (!before && !after) return null;
  const link = (/** @type {any} */ run, /** @type {string} */ key, /** @type {string} */ text) =>
    run ? html`<a href=${href(`/r/${run.id}`)} aria-label=${`${text}: ${run.task} ${run.key ?? shortId(run.id)}`}><kbd aria-hidden="true">${key}</kbd> <${State} state=${run.state} plain /> <span>${named(run.task)}</span> <span class="quiet mono">${run.key ?? shortId(run.id)}</span></a>` : html`<span></span>`;
  return html`<nav class="neighbours" aria-label="Siblings">${link(before, "[", "The sibling before")}${link(after, "]", "The next sibling")}</nav>`;
}
