// What went in and came out: asked for when it is wanted, at most 64 kB at a time, shown as a tree if it is JSON.

import { get, query } from "../core/api.js";
import { count, size } from "../core/format.js";
import { html, useEffect, useSignal, useState } from "../core/html.js";
import { me } from "../core/session.js";
import { Loading, Refused } from "./feedback.js";
import { Json } from "./json.js";

const NAMES = { input: "Input", output: "Output", error: "Error", payload: "Payload", metadata: "Metadata" };
const MUCH = 2_000_000; // characters: no tree of more

/** @param {{path: string, part: string}} props */
export function Payload({ path, part }) {
  const who = useSignal(me);
  const [state, set] = useState({ text: "", size: 0, next: /** @type {number | null} */ (0), missing: false, masked: false, busy: false, error: /** @type {any} */ (null) });
  const [raw, setRaw] = useState(false);
  async function more() {
    if (state.next === null || state.busy) return;
    set({ ...state, busy: true });
    try {
      const found = await get(`${path}${query({ offset: state.next || null })}`);
      set({ text: state.text + (found.text ?? ""), size: found.size ?? 0, next: found.next ?? null, missing: Boolean(found.is_missing), masked: Boolean(found.is_masked), busy: false, error: null });
    } catch (error) {
      set({ ...state, busy: false, error });
    }
  }
  useEffect(() => void (who?.payloads === false || (who && !who.payloads) || more()), [Boolean(who)]);
  if (who && !who.payloads) return html`<p class="quiet pad">Payloads are not shown to you here.</p>`;
  if (state.error) return state.error.status === 403 ? html`<p class="quiet pad">${state.error.message}</p>` : html`<${Refused} error=${state.error} retry=${more} />`;
  if (!state.text && !state.missing && state.next !== null) return html`<${Loading} lines=${3} />`;
  if (state.missing) return html`<p class="quiet pad">There is none.</p>`;
  const parsed = state.next === null && state.text.length < MUCH && !raw ? parse(state.text) : undefined;
  return html`<div class="payload">
    <div class="payload-body" tabindex="0" role="region" aria-label=${NAMES[part] ?? part}>
      ${parsed === undefined ? html`<pre class="raw">${state.text}</pre>` : html`<${Json} value=${parsed} />`}
    </div>
    <p class="payload-feet quiet">
      <span>${size(state.size || state.text.length)}</span>
      ${state.masked && html`<span>parts of it are masked</span>`}
      ${state.next !== null && html`<button class="button small" disabled=${state.busy} onClick=${more}>Load more of ${size(state.size)}</button>`}
      ${state.next === null && html`<button class="link-button" aria-pressed=${raw} onClick=${() => setRaw(!raw)}>${raw ? "As a tree" : "As text"}</button>`}
      <${Copy} text=${state.text} />
    </p>
  </div>`;
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @param {{text: string}} props */
export function Copy({ text }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button class="link-button" onClick=${copy}>${done ? "Copied" : "Copy"}</button>`;
}

/** @typedef {{where: string, code: string[], mine: boolean}} Frame */

/** A traceback of Python, cut into its frames; those of the user's own files are marked. @param {string} text */
export function frames(text) {
  /** @type {Frame[]} */
  const found = [];
  const around = [];
  for (const line of text.split("\n")) {
    const head = /^ {2}File "(.*)", line (\d+)(?:, in (.*))?$/.exec(line);
    if (head) found.push({ where: `${head[1]}:${head[2]}${head[3] ? ` in ${head[3]}` : ""}`, code: [], mine: !/site-packages|dist-packages|[\\/]lib[\\/]python3|[\\/]fanwood[\\/]|^</.test(head[1]) });
    else if (found.length && line.startsWith("    ")) found.at(-1)?.code.push(line.slice(4));
    else around.push(line);
  }
  return { frames: found, around: around.filter((line) => line.trim() && !line.startsWith("Traceback")) };
}

/** It may be scrolled, on a narrow screen at least, and so is reached by keys. @param {string} text */
const isLong = (text) => text.length > 300 || text.split("\n").length > 8;

/** @param {{error: any, id: string}} props */
export function ErrorPanel({ error }) {
  const [all, setAll] = useState(false);
  if (!error) return null;
  const { frames: found } = frames(error.traceback ?? "");
  const own = found.filter((frame) => frame.mine);
  const shown = all || !own.length ? found : own;
  return html`<section class="section error-panel" aria-labelledby="error-title">
    <h2 id="error-title"><span class="glyph is-failed" aria-hidden="true">✗</span> ${error.type || error.kind}</h2>
    ${error.message && html`<p class="error-text" tabindex=${isLong(error.message) ? 0 : null}>${error.message}</p>`}
    ${error.limit && html`<p class="soft">${error.limit}${error.owner ? ` of ${error.owner}` : ""}</p>`}
    ${shown.length > 0 &&
    html`<ol class="frames">
      ${shown.toReversed().map((frame, at) => html`<li key=${at} class=${frame.mine ? "mine" : ""}><p class="mono frame-where">${frame.where}</p>${frame.code.length ? html`<pre tabindex="0">${frame.code.join("\n")}</pre>` : null}</li>`)}
    </ol>`}
    ${!found.length && error.traceback ? html`<pre class="raw" tabindex="0">${error.traceback}</pre>` : null}
    ${own.length > 0 && own.length < found.length && html`<button class="link-button soft" aria-expanded=${all} onClick=${() => setAll(!all)}>${all ? "Only your own frames" : `All ${count(found.length)} frames`}</button>`}
  </section>`;
}
