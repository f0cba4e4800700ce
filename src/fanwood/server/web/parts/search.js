// Search, from anywhere: pages at once, runs as the server finds them.

import { get, query } from "../core/api.js";
import { age, now, shortId } from "../core/format.js";
import { classes, html, useEffect, useLayoutEffect, useState } from "../core/html.js";
import { release } from "../core/keys.js";
import { go, href } from "../core/place.js";
import { Dialog } from "./dialog.js";
import { State } from "./state.js";

const PLACES = [["Trees", "/"], ["Failures", "/failures"], ["Tasks", "/tasks"], ["Workers", "/workers"], ["Events", "/events"], ["Store", "/store"], ["Actions", "/actions"]];

/** What is found for a text, a moment after it was typed. @param {string} text */
export function useFound(text) {
  const [state, set] = useState({ text: "", runs: /** @type {any[]} */ ([]), busy: false, error: /** @type {any} */ (null) });
  useEffect(() => {
    if (!text) return set({ text: "", runs: [], busy: false, error: null });
    const control = new AbortController();
    set((old) => ({ ...old, busy: true }));
    const timer = setTimeout(async () => {
      try {
        const page = await get(`/search${query({ q: text })}`, control.signal);
        set({ text, runs: page.runs ?? [], busy: false, error: null });
      } catch (error) {
        if (!control.signal.aborted) set({ text, runs: [], busy: false, error });
      }
    }, 180);
    return () => (clearTimeout(timer), control.abort());
  }, [text]);
  return state;
}

/** @param {{onClose: () => void}} props */
export function Search({ onClose }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  useLayoutEffect(() => void setText(release()), []);
  const asked = text.trim();
  const { runs, busy, error, text: answered } = useFound(asked);
  const places = PLACES.filter(([name]) => !asked || name.toLowerCase().startsWith(asked.toLowerCase()));
  const options = [
    ...places.map(([name, to]) => ({ key: to, to: href(to), draw: html`<span class="quiet">go to</span> ${name}` })),
    ...runs.slice(0, 12).map((run) => ({ key: run.id, to: href(run.depth ? `/r/${run.id}` : `/t/${run.id}`), draw: html`<${Found} run=${run} />` })),
    ...(runs.length > 12 ? [{ key: "all", to: href("/search", { q: asked }), draw: html`<span class="soft">All that was found</span>` }] : []),
  ];
  const here = Math.min(at, options.length - 1);
  const open = (/** @type {number} */ place) => {
    const to = options[place]?.to;
    if (!to) return;
    onClose();
    go(to);
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "ArrowDown") setAt(Math.min(options.length - 1, here + 1));
    else if (event.key === "ArrowUp") setAt(Math.max(0, here - 1));
    else if (event.key === "Enter") open(here);
    else return;
    event.preventDefault();
  };
  return html`<${Dialog} title="Search" onClose=${onClose} class="search" bare>
    <input class="search-field" role="combobox" aria-label="Search runs" aria-expanded="true" aria-controls="found" aria-activedescendant=${options[here] ? `found-${here}` : null}
      placeholder="Id, task, key, or text of an error" autofocus spellcheck=${false} autocomplete="off" value=${text}
      onInput=${(event) => (setText(event.currentTarget.value), setAt(0))} onKeyDown=${onKey} />
    <ul id="found" class="found" role="listbox" aria-label="Found">
      ${options.map(({ key, to, draw }, place) => html`<li key=${key} id=${`found-${place}`} role="option" aria-selected=${place === here} class=${classes("found-line", place === here && "chosen")}
        onMouseMove=${() => setAt(place)} onClick=${() => open(place)} data-to=${to}>${draw}</li>`)}
    </ul>
    <p class="search-feet quiet" role="status">${error ? error.message : busy ? "Searching" : asked && answered === asked && !runs.length ? "No run fits that." : html`<kbd>↑</kbd> <kbd>↓</kbd> choose, <kbd>Enter</kbd> opens, <kbd>Esc</kbd> closes`}</p>
  <//>`;
}

/** @param {{run: any}} props */
function Found({ run }) {
  return html`<${State} state=${run.state} plain /><b>${run.task}</b>${run.key && html`<span class="soft cut">${run.key}</span>`}
    ${run.error?.message && html`<span class="is-failed cut">${run.error.message}</span>`}<span class="push quiet mono">${shortId(run.id)}</span><span class="quiet nowrap">${age(now() - run.created_at)}</span>`;
}
