// Who works: slots, leases, and what is in them.

import { count } from "../core/format.js";
import { html, useEffect } from "../core/html.js";
import { listen } from "../core/live.js";
import { useResource } from "../core/resource.js";
import { Empty, Freshness } from "../parts/feedback.js";
import { Page } from "../parts/shell.js";
import { WorkerList } from "../parts/workerlist.js";
import { shown } from "./treetabs.js";

export function WorkersPage() {
  const resource = useResource("/workers", { every: 5000 });
  useEffect(() => listen("workers", ({ event }) => void (event !== "hello" && resource.reload())), []);
  return html`<${Page} title="Workers">
    <div class="page-head"><h1>Workers</h1><span class="push"></span><${Freshness} every=${5} asOf=${resource.data?.as_of} /></div>
    ${shown(resource, (data) => {
      const workers = (data.workers ?? []).toSorted((/** @type {any} */ a, /** @type {any} */ b) => Number(Boolean(b.is_live)) - Number(Boolean(a.is_live)) || (b.slots ?? 0) - (a.slots ?? 0));
      const live = workers.filter((/** @type {any} */ each) => each.is_live && each.slots);
      const [slots, busy] = [live.reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + each.slots, 0), live.reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + (each.running ?? 0), 0)];
      if (!workers.length) return html`<${Empty} title="Nobody works here now"><p class="soft">Start a worker: <code>fanwood worker app:fanwood</code></p><//>`;
      return html`<dl class="figures"><div><dt>live workers</dt><dd>${count(live.length)}</dd></div><div><dt>slots busy</dt><dd>${count(busy)}<span class="quiet"> / ${count(slots)}</span></dd></div></dl>
        <${WorkerList} workers=${workers} asOf=${data.as_of} />`;
    })}
  <//>`;
}
