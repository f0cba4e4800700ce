// All that a search found, with an address of its own.

import { html, useSignal } from "../core/html.js";
import { place, refine } from "../core/place.js";
import { Empty, Loading, Refused } from "../parts/feedback.js";
import { RunList } from "../parts/runlist.js";
import { useFound } from "../parts/search.js";
import { Page } from "../parts/shell.js";

export function SearchPage() {
  const { query } = useSignal(place);
  const asked = (query.get("q") ?? "").trim();
  const { runs, busy, error } = useFound(asked);
  return html`<${Page} title="Search">
    <div class="page-head"><h1>Search</h1></div>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <input class="long" aria-label="Search runs" placeholder="Id, task, key, or text of an error" value=${asked} onInput=${(event) => refine({ q: event.currentTarget.value })} spellcheck=${false} />
    </form>
    ${error
      ? html`<${Refused} error=${error} />`
      : !asked
        ? html`<${Empty} title="What is looked for?"><p class="soft">The digits of an id, a task, a key, or words of an error.</p><//>`
        : runs.length
          ? html`<${RunList} runs=${runs} label="Found" />`
          : busy
            ? html`<${Loading} />`
            : html`<${Empty} title="No run fits that" />`}
  <//>`;
}
