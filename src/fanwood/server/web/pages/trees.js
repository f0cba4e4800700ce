// All trees, the newest first.

import { query } from "../core/api.js";
import { age, count, now, shortId, stamp, took } from "../core/format.js";
import { html, useEffect, useSignal, useState } from "../core/html.js";
import { useKeys } from "../core/keys.js";
import { listen } from "../core/live.js";
import { go, href, place } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { asState, ORDER, STATES, total } from "../core/states.js";
import { get } from "../core/api.js";
import { Chips } from "../parts/chips.js";
import { BulkButtons } from "../parts/doing.js";
import { Empty, Freshness, Loading, Refused } from "../parts/feedback.js";
import { since, Span, Typed } from "../parts/filters.js";
import { Page } from "../parts/shell.js";
import { Bar, State } from "../parts/state.js";

/** What the address asks for, as the API takes it. @param {URLSearchParams} asked */
function filterOf(asked) {
  const [key, value] = (asked.get("meta") ?? "").split("=");
  return {
    task: asked.get("task"),
    state: asState(asked.get("state")),
    q: asked.get("q"),
    since: since(asked.get("span")),
    metadata: key && value !== undefined ? JSON.stringify({ [key]: value }) : null,
  };
}

const FAILED = 500; // failures of a tree that has completed are counted so far

export function TreesPage() {
  const { query: asked } = useSignal(place);
  const filter = filterOf(asked);
  const path = `/trees${query({ ...filter, limit: 50 })}`;
  const same = query({ ...filter, since: asked.get("span") });
  const first = useResource(path, { same });
  const older = useOlder(path, same, first.data?.after ?? null);
  useEffect(() => {
    let waiting = 0;
    const stop = listen("trees", ({ event }) => {
      if (event === "hello" || waiting) return;
      waiting = setTimeout(() => ((waiting = 0), void first.reload()), 1000);
    });
    return () => (stop(), clearTimeout(waiting));
  }, [path]);
  const runs = [...(first.data?.runs ?? []), ...older.runs];
  const narrowed = Object.values(filter).some(Boolean);
  return html`<${Page} title="">
    <div class="page-head"><h1>Trees</h1><span class="push"></span><${Freshness} /></div>
    <${Filters} asked=${asked} />
    ${first.error && !first.data
      ? html`<${Refused} error=${first.error} retry=${first.reload} />`
      : !first.data
        ? html`<${Loading} lines=${8} />`
        : runs.length
          ? html`<${Roots} runs=${runs} counts=${{ ...first.data.counts, ...older.counts }} failures=${{ ...first.data.failures, ...older.failures }} least=${new Set([...(first.data.at_least ?? []), ...older.least])} />`
          : narrowed
            ? html`<${Empty} title="No tree fits these filters"><p class="soft">Take one away, or look further back.</p><//>`
            : html`<${First} />`}
    ${older.after && html`<p class="more"><button class="button" onClick=${older.load} disabled=${older.busy}>Older trees</button></p>`}
  <//>`;
}

/** The pages after the first. @param {string} path @param {string} same see `useResource` @param {string | null} start */
function useOlder(path, same, start) {
  const none = { same, runs: [], counts: {}, failures: {}, least: [], after: /** @type {string | null | undefined} */ (undefined), busy: false };
  const [state, set] = useState(none);
  const mine = state.same === same ? state : none;
  const after = mine.after === undefined ? start : mine.after;
  async function load() {
    if (!after) return;
    set({ ...mine, busy: true });
    try {
      const page = await get(`${path}&after=${encodeURIComponent(after)}`);
      set({ same, runs: [...mine.runs, ...(page.runs ?? [])], counts: { ...mine.counts, ...page.counts }, failures: { ...mine.failures, ...page.failures }, least: [...mine.least, ...(page.at_least ?? [])], after: page.after ?? null, busy: false });
    } catch {
      set({ ...mine, busy: false });
    }
  }
  return { ...mine, after, load };
}

/** @param {{asked: URLSearchParams}} props */
function Filters({ asked }) {
  const chips = [["task", "task"], ["meta", "metadata"], ["q", "text"]].filter(([name]) => asked.get(name)).map(([name, text]) => ({ name: text, text: asked.get(name) ?? "", clears: [name] }));
  const { state, task, since: from, metadata } = filterOf(asked);
  const filter = { state: state ?? undefined, task: task ?? undefined, since: from ?? undefined, metadata: metadata ? JSON.parse(metadata) : undefined };
  return html`<form class="filters" role="search" aria-label="Filter trees" onSubmit=${(event) => event.preventDefault()}>
      <div class="segments" role="group" aria-label="State">
        <a href=${link(asked, "state", null)} aria-current=${asked.get("state") ? null : "true"}>All</a>
        ${ORDER.map((state) => html`<a key=${state} href=${link(asked, "state", state)} aria-current=${asked.get("state") === state ? "true" : null}><span class=${`glyph is-${state}`} aria-hidden="true">${STATES[state].glyph}</span>${STATES[state].word}</a>`)}
      </div>
      <${Span} label="Started" asked=${asked} />
      <${Typed} name="task" label="Task" asked=${asked} />
      <${Typed} name="meta" label="Metadata, key=value" hint="key=value" asked=${asked} />
      ${asked.get("q") ? null : html`<${BulkButtons} roots filter=${filter} state=${state} what=${`All trees that are ${STATES[state ?? ""]?.word ?? ""}${task ? `, of ${task}` : ""}${from ? ", of the chosen time" : ""}`} />`}
    </form>
    <${Chips} chips=${chips} />`;
}

/** @param {URLSearchParams} asked @param {string} name @param {string | null} value */
const link = (asked, name, value) => href("/", { ...Object.fromEntries(asked), [name]: value });

/** @param {{runs: any[], counts: Record<string, any>, failures: Record<string, number>, least: Set<string>}} props */
function Roots({ runs, counts, failures, least }) {
  const [at, setAt] = useState(-1);
  const to = (/** @type {number} */ next) => {
    const place = Math.max(0, Math.min(runs.length - 1, next));
    setAt(place);
    document.getElementById(`tree-${runs[place].id}`)?.focus();
  };
  useKeys(() => [
    { keys: "j", does: "Next tree", run: () => to(at + 1) },
    { keys: "k", does: "Tree before", run: () => to(at - 1) },
    { keys: "o", does: "Open it", run: () => runs[at] && go(href(`/t/${runs[at].id}`)) },
  ]);
  return html`<div class="scroller" tabindex="-1"><table class="list roots">
    <caption class="hidden">Trees, the newest first</caption>
    <thead><tr>
      <th scope="col">State</th><th scope="col">Tree</th><th scope="col" class="grow"><span class="hidden">Progress</span></th><th scope="col" class="num">Runs</th><th scope="col" class="num">Failed</th><th scope="col" class="num">Took</th><th scope="col" class="num">Started</th>
    </tr></thead>
    <tbody>${runs.map((run, place) => html`<${Root} key=${run.id} run=${run} counts=${counts[run.id]} failures=${failures[run.id]} least=${least.has(run.id)} onFocus=${() => setAt(place)} />`)}</tbody>
  </table></div>`;
}

/** @param {{run: any, counts?: any, failures?: number, least: boolean, onFocus: () => void}} props least: of a large tree some were counted */
function Root({ run, counts, failures, least, onFocus }) {
  const failed = Math.max(counts?.failed ?? 0, failures ?? 0);
  const more = least && (failures === undefined || failures >= FAILED) ? "+" : "";
  const all = total(counts);
  const end = run.finished_at ?? now();
  const below = all > 1 || (all === 1 && !counts[run.state]);
  return html`<tr class="linked">
    <td><${State} state=${run.state} /></td>
    <td class="tree-name"><a id=${`tree-${run.id}`} class="task stretched" href=${href(`/t/${run.id}`)} onFocus=${onFocus}>${run.task}</a>
      ${run.key && html` <span class="soft">${run.key}</span>`} <span class="quiet mono id">${shortId(run.id)}</span></td>
    <td class="grow">${below ? html`<${Bar} counts=${counts} />` : html`<${Alone} run=${run} />`}</td>
    <td class="num" data-name=${all > 1 ? " runs" : " run"} title=${least ? "At least: the page of the tree counts them all" : null}>${count(Math.max(1, all))}${least ? "+" : ""}</td>
    <td class="num" data-name=${failed ? " failed" : ""}>${failed ? html`<a class="is-failed above" href=${href(`/t/${run.id}`, { state: "failed" })} aria-label=${`${count(failed)}${more} failed`}>${count(failed)}${more}</a>` : html`<span class="quiet none">–</span>`}</td>
    <td class="num took">${run.started_at ? took(end - run.started_at) : html`<span class="quiet">–</span>`}</td>
    <td class="num quiet age" title=${stamp(run.created_at)}>${age(now() - run.created_at)} ago</td>
  </tr>`;
}

/** What tells a run with none below it from the others: its error, or how its input begins. @param {{run: any}} props */
function Alone({ run }) {
  if (run.error) return html`<span class=${run.state === "failed" ? "whole cut is-failed" : "whole cut soft"}>${[run.error.type || run.error.kind, run.error.message].filter(Boolean).join(": ")}</span>`;
  return html`<span class="whole cut preview">${["{}", "null"].includes(run.preview) ? "" : run.preview}</span>`;
}

const PROGRAM = `from fanwood import Fanwood

app = Fanwood()

@app.task
def square(n: int) -> int:
    return n * n

@app.task
def squares(n: int) -> int:
    return sum(square.map(range(n)))

print(squares.run(1000))`;

/** What to do where nothing is. */
function First() {
  return html`<${Empty} title="No tree has grown here yet">
    <p class="soft">Save this as <code>app.py</code>, run <code>python app.py</code>, and watch it appear.</p>
    <pre class="code" tabindex="0"><code>${PROGRAM}</code></pre>
    <p class="soft">Or grow a big one: <code>fanwood demo --runs 100000</code></p>
  <//>`;
}
