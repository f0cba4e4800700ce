// One tree: what runs now, what failed and why, what is slow, how long it still takes, and what it cost.

import { query as queryOf } from "../core/api.js";
import { count, many, now, percent, shortId, took } from "../core/format.js";
import { html, lazy, useEffect, useMemo, useRef, useSignal, useTick } from "../core/html.js";
import { useKeys } from "../core/keys.js";
import { go, here, href, place, refine } from "../core/place.js";
import { usePicture } from "../core/picture.js";
import { useResource } from "../core/resource.js";
import { asState, hasEnded, inWords, total } from "../core/states.js";
import { Durations } from "../draw/histogram.js";
import { Icicle, tasksOf, way } from "../draw/icicle.js";
import { Strip } from "../draw/strip.js";
import { Chips, Tabs } from "../parts/chips.js";
import { Clusters } from "../parts/clusters.js";
import { BulkButtons, RunButtons } from "../parts/doing.js";
import { announce, Freshness, Loading, Refused } from "../parts/feedback.js";
import { Figures } from "../parts/figures.js";
import { Page } from "../parts/shell.js";
import { Bar, Legend, State } from "../parts/state.js";
import { TreeTable } from "../parts/treetable.js";
import { clock } from "../core/format.js";

const tab = (/** @type {string} */ name) => lazy(() => import("./treetabs.js"), name);
const [CriticalPath, Slowest, TreeWorkers, WaterfallTab] = ["CriticalPath", "Slowest", "TreeWorkers", "WaterfallTab"].map(tab);

/** What narrows the page; what makes no sense does not. @param {URLSearchParams} query @returns {Record<string, string | null>} */
function whereOf(query) {
  const whole = (/** @type {string} */ name) => (/^\d{1,16}$/.test(query.get(name) ?? "") ? query.get(name) : null);
  return { task: query.get("task"), state: asState(query.get("state")), path: whole("path"), cluster: query.get("cluster"), since: whole("since"), until: whole("until") };
}

/** @param {{id: string}} props */
export function TreePage({ id }) {
  const { query } = useSignal(place);
  const where = useMemo(() => whereOf(query), [query]);
  const { view, error, gone, beat, reload } = usePicture(id, where);
  const root = view?.root;
  useEffect(() => {
    if (view) announce(`${root.task} ${root.state}: ${inWords(view.counts)}`);
  }, [beat]);
  useKeys(() => [
    { keys: "p", does: "Up to the trees", run: () => go(href("/")) },
    { keys: "r", does: "The root's own page", run: () => go(href(`/r/${id}`)) },
  ]);
  if (!view) return html`<${Page} title="Tree"><h1 class="hidden">Tree</h1>${error ? html`<${Refused} error=${error} retry=${reload} />` : html`<${Loading} lines=${10} />`}<//>`;
  return html`<${Page} title=${`${root.task} ${shortId(id)}`}>
    <${Head} view=${view} reload=${reload} />
    ${gone && html`<p class="banner" role="alert">This tree has been pruned. What is shown is what it was.</p>`}
    ${error && html`<p class="banner" role="status">${error.message} What is shown is as of ${clock(view.as_of)}.</p>`}
    <${Progress} view=${view} state=${where.state} />
    <${Figures} view=${view} />
    <${Budget} id=${id} beat=${beat} />
    <${Filtered} view=${view} where=${where} />
    <${Pictures} view=${view} where=${where} />
    <${Below} id=${id} view=${view} where=${where} beat=${beat} tab=${query.get("tab") ?? "tree"} />
  <//>`;
}

const TreeBudget = lazy(() => import("../parts/budget.js"), "TreeBudget");

/** Asked for again when the tree has changed: every two seconds if there is one, else every ten. @param {{id: string, beat: number}} props */
function Budget({ id, beat }) {
  const { data, reload } = useResource(`/trees/${id}/budget`);
  const asked = useRef(Date.now());
  const has = data && (data.limits?.length || data.spent?.length);
  useEffect(() => {
    const wait = Math.max(0, asked.current + (has ? 2000 : 10_000) - Date.now());
    const timer = setTimeout(() => ((asked.current = Date.now()), reload()), wait);
    return () => clearTimeout(timer);
  }, [beat]);
  return has ? html`<${TreeBudget} id=${id} data=${data} />` : null;
}

/** @param {{view: any, reload: () => void}} props */
function Head({ view, reload }) {
  const { root } = view;
  useTick(!hasEnded(root.state));
  const end = root.finished_at ?? now();
  return html`<div class="page-head tree-title">
    <h1>${root.task}</h1>
    <${State} state=${root.state} />
    ${root.started_at && html`<span class="soft nowrap">${took(end - root.started_at)}</span>`}
    ${view.is_stalled && html`<span class="tag is-bad">stalled</span>`}
    <a class="quiet mono" href=${href(`/r/${root.id}`)} title="The root's own page">${root.key ? `${root.key} ` : ""}${shortId(root.id)}</a>
    <span class="push"></span>
    <${Freshness} asOf=${view.as_of} final=${view.is_final} over=${!(view.done < 1) && hasEnded(root.state) && !isOpen(view.counts)} />
    <${RunButtons} run=${root} failed=${view.counts.failed} more after=${reload} />
  </div>`;
}

/** Whether anything has not ended. @param {import("../core/states.js").Counts} counts */
const isOpen = (counts) => Boolean(counts.queued || counts.running || counts.waiting);

/** @param {{view: any, state: string | null}} props */
function Progress({ view, state }) {
  const all = total(view.counts);
  return html`<section class="progress" aria-label="Counts">
    <${Bar} counts=${view.counts} class="tall" />
    <div class="progress-words">
      <span class="nowrap"><b>${count(all)}</b> ${all === 1 ? "run" : "runs"}</span>
      <${Legend} counts=${view.counts} active=${state} to=${(/** @type {string} */ each) => here({ state: each === state ? null : each })} />
      ${total(view.waits) ? html`<span class="waits soft" title=${inWords(view.waits)}>and ${many(total(view.waits), "wait or recorded step", "waits and recorded steps")}</span>` : null}
      ${view.done < 1 && html`<span class="quiet push" role="status">counted so far: ${percent(view.done)}</span>`}
    </div>
  </section>`;
}

/** What narrows the page. @param {{view: any, where: Record<string, string | null>}} props */
function Filtered({ view, where }) {
  const chips = [];
  const cluster = view.clusters?.find((/** @type {any} */ each) => each.key === where.cluster);
  const path = where.path === null ? null : view.paths?.[Number(where.path)];
  if (where.task) chips.push({ name: "task", text: where.task, clears: ["task"] });
  if (where.state) chips.push({ name: "state", text: where.state, clears: ["state"] });
  if (where.path !== null) chips.push({ name: "path", text: path ? way(view.paths, path) : `${where.path}`, clears: ["path"] });
  if (where.cluster) chips.push({ name: "failure", text: cluster ? `${cluster.type}: ${cluster.message}` : where.cluster, clears: ["cluster"] });
  if (where.since || where.until) chips.push({ name: "ended", text: `${where.since ? clock(Number(where.since)) : "…"} – ${where.until ? clock(Number(where.until)) : "now"}`, clears: ["since", "until"] });
  const bad = where.path !== null && !where.state && !where.cluster && view.counts.failed > 0; // what can be done to a path is a retry
  const filter = { tree: view.root.id, path: path ? tasksOf(view.paths, path) : undefined, task: where.task ?? undefined, state: (bad ? "failed" : where.state) ?? undefined, cluster: where.cluster ?? undefined, since: num(where.since) ?? undefined, until: num(where.until) ?? undefined };
  const what = `All of this tree that fits: ${[...chips, ...(bad ? [{ name: "state", text: "failed" }] : [])].map((chip) => `${chip.name} ${chip.text}`).join(", ")}`;
  const state = where.path !== null && !path ? null : where.cluster || bad ? "failed" : where.state;
  return html`<${Chips} chips=${chips}><${BulkButtons} filter=${filter} state=${state} what=${what} /><//>`;
}

/** @param {{view: any, where: Record<string, string | null>}} props */
function Pictures({ view, where }) {
  const { query } = place.peek();
  const measure = /** @type {import("../draw/icicle.js").Measure} */ (query.get("measure") ?? (view.busy ? "busy" : "runs"));
  const clusters = view.clusters ?? [];
  const paths = view.paths ?? [];
  const alone = total(view.counts) <= 1;
  if (alone && !clusters.length) return null;
  const window = (/** @type {number | null} */ since, /** @type {number | null} */ until) => refine({ since, until });
  return html`${view.strip && html`<section class="panel strip" aria-label="Over time"><${Strip} strip=${view.strip} since=${num(where.since)} until=${num(where.until)} onWindow=${window} /></section>`}
    <div class=${clusters.length ? "panels three" : "panels two"}>
      <section class="panel" aria-labelledby="paths-title">
        <div class="panel-head"><h2 id="paths-title">Paths</h2><${Measures} chosen=${measure} /></div>
        <${Icicle} paths=${paths} measure=${measure} chosen=${num(where.path)} onChoose=${(/** @type {number | null} */ path) => refine({ path })} />
      </section>
      ${clusters.length > 0 &&
      html`<section class="panel" aria-labelledby="failures-title">
        <div class="panel-head"><h2 id="failures-title">Failures</h2><span class="quiet">${many(clusters.length, "kind")}</span></div>
        <${Clusters} clusters=${clusters} now=${now()} chosen=${where.cluster} to=${(/** @type {string} */ key) => here({ cluster: key === where.cluster ? null : key })}
          filter=${(/** @type {string} */ key) => ({ tree: view.root.id, cluster: key })} />
      </section>`}
      <section class="panel" aria-labelledby="durations-title">
        <div class="panel-head durations-head"><h2 id="durations-title">Durations</h2><span class="num quiet">p50</span><span class="num quiet">p95</span><span class="num quiet">max</span></div>
        <${Durations} tasks=${view.tasks ?? []} chosen=${where.task} to=${(/** @type {string} */ task) => here({ task: task === where.task ? null : task })} />
      </section>
    </div>`;
}

/** @param {string | null} text */
const num = (text) => (text === null ? null : Number(text));

/** @param {{chosen: string}} props */
function Measures({ chosen }) {
  return html`<span class="switch" role="group" aria-label="Width of the boxes">
    ${["busy", "runs", "failed"].map((name) => html`<a key=${name} href=${here({ measure: name })} aria-current=${chosen === name ? "true" : null}>${name}</a>`)}
  </span>`;
}

/** @param {{id: string, view: any, where: Record<string, string | null>, beat: number, tab: string}} props */
function Below({ id, view, where, beat, tab }) {
  const task = where.task ?? view.paths?.[Number(where.path ?? -1)]?.task ?? null;
  const cluster = view.clusters?.find((/** @type {any} */ each) => each.key === where.cluster);
  const deep = view.paths?.some((/** @type {any} */ each) => (each.parent > 0 || each.folded > 1) && total(each.counts)); // something fits that is not right below the root
  const flat = !where.cluster && (where.since || where.until || Number(where.path) || ((where.task || where.state) && deep)) ? queryOf(where).slice(1) : "";
  const narrow = { task: where.task, state: where.state, cluster: where.cluster, flat, count: cluster?.count ?? total(view.counts) };
  const draw = {
    slowest: () => html`<${Slowest} id=${id} task=${task} />`,
    critical: () => html`<${CriticalPath} id=${id} />`,
    waterfall: () => html`<${WaterfallTab} id=${id} focus=${place.peek().query.get("focus")} />`,
    workers: () => html`<${TreeWorkers} id=${id} tasks=${view.tasks ?? []} />`,
  }[tab];
  return html`<section class="below" aria-label="Runs of this tree">
    <${Tabs} label="Ways to see the runs" chosen=${tab} tabs=${[["tree", "Tree"], ["slowest", "Slowest"], ["critical", "Critical path"], ["waterfall", "Waterfall"], ["workers", "Workers"]]} />
    ${draw ? draw() : html`<${TreeTable} root=${id} narrow=${narrow} beat=${hasEnded(view.root.state) && view.is_final ? 0 : beat} />`}
  </section>`;
}
