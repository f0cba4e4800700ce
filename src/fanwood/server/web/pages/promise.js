// A promise, for whoever has its token, logged in or not: the token stands in the fragment of the link.

import { html, useState } from "../core/html.js";
import { Empty } from "../parts/feedback.js";
import { Settle } from "../parts/settle.js";
import { Page } from "../parts/shell.js";

export function PromisePage() {
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get("promise") ?? "");
  return html`<${Page} title="Promise">
    <div class="page-head"><h1>A promise</h1></div>
    ${token ? html`<${Settle} token=${token} />` : html`<${Empty} title="This link has no token"><p class="soft">It ends in <code>#promise=</code> and the token.</p><//>`}
  <//>`;
}
