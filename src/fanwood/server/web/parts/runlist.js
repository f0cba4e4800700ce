// Runs in a table, a line each: of the slowest, of what was found, of pages that go on.

import { age, now, shortId, stamp } from "../core/format.js";
import { html } from "../core/html.js";
import { href } from "../core/place.js";
import { KinTag, MadeTag } from "./kin.js";
import { State } from "./state.js";
import { Detail, lasted } from "./treetable.js";

/** @param {{runs: any[], label: string, id?: boolean}} props */
export function RunList({ runs, label }) {
  return html`<div class="scroller" tabindex="0" role="region" aria-label=${label}><table class="list runs-list">
    <caption class="hidden">${label}</caption>
    <thead><tr><th scope="col">Run</th><th scope="col" class="wide">Id</th><th scope="col">State</th><th scope="col" class="num">Took</th><th scope="col" class="num wide">Started</th></tr></thead>
    <tbody>
      ${runs.map(
        (run) => html`<tr key=${run.id}>
          <td><span class="run-name"><${State} state=${run.state} plain /><a class="task" href=${href(`/r/${run.id}`)}>${run.task}</a><${KinTag} kin=${run.kin} /><${MadeTag} made=${run.made} />
            ${run.key && html`<span class="soft cut">${run.key}</span>`}<span class="preview cut">${run.preview && run.preview !== "{}" && run.preview !== "null" ? run.preview : ""}</span></span></td>
          <td class="wide mono quiet">${shortId(run.id)}</td>
          <td><span class="detail"><${Detail} run=${run} />${run.state === "completed" ? html`<span class="soft">done</span>` : null}</span></td>
          <td class="num">${lasted(run)}</td>
          <td class="num wide quiet" title=${stamp(run.started_at ?? run.created_at)}>${age(now() - (run.started_at ?? run.created_at))} ago</td>
        </tr>`,
      )}
    </tbody>
  </table></div>`;
}
