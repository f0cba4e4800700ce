// All keys that do something here.

import { html } from "../core/html.js";
import { bindings } from "../core/keys.js";
import { Dialog } from "./dialog.js";

const NAMES = { "mod+k": ["Ctrl", "K"] };

/** @param {{onClose: () => void}} props */
export function Help({ onClose }) {
  const all = bindings();
  return html`<${Dialog} title="Keys" onClose=${onClose} class="help">
    <dl class="keys">
      ${all.map(
        ({ keys, does }) => html`<div key=${keys}>
          <dt>${keys.split(", ").map((key, at) => html`${at ? html`<span class="quiet"> or </span>` : null}${(NAMES[key] ?? key.split(" ")).map((part) => html`<kbd>${part}</kbd> `)}`)}</dt>
          <dd>${does}</dd>
        </div>`,
      )}
    </dl>
    <p class="quiet">On a picture: arrows move, <kbd>Enter</kbd> filters, <kbd>Esc</kbd> shows all. In the tree: arrows move, open and close.</p>
    <div class="dialog-feet"><button class="button" onClick=${onClose}>Close</button></div>
  <//>`;
}
