// What a run logged; followed while it runs.

import { get, query } from "../core/api.js";
import { clock } from "../core/format.js";
import { classes, html, useEffect, useRef, useState } from "../core/html.js";

const PAGE = 200;
const KEPT = 1000; // lines in the page
const AGAIN = 1500;

/** @param {{id: string, over: boolean}} props */
export function Logs({ id, over }) {
  const [lines, setLines] = useState(/** @type {any[]} */ ([]));
  const [state, setState] = useState(/** @type {"asking" | "more" | "following" | "done" | "failed"} */ ("asking"));
  const [follow, setFollow] = useState(!over);
  const [cut, setCut] = useState(false);
  const after = useRef(/** @type {number | null} */ (null));
  const box = useRef(/** @type {HTMLElement | null} */ (null));

  async function more() {
    try {
      const page = await get(`/runs/${id}/logs${query({ after: after.current, limit: PAGE })}`);
      const found = page.lines ?? [];
      if (page.after !== undefined) after.current = page.after;
      if (found.length) setLines((old) => {
        const all = [...old, ...found];
        if (all.length > KEPT) setCut(true);
        return all.slice(-KEPT);
      });
      setState(page.has_ended ? "done" : found.length >= PAGE ? "more" : "following");
    } catch {
      setState("failed");
    }
  }
  useEffect(() => void more(), [id]);
  useEffect(() => {
    if (state === "done" || !follow || (state === "more" && over)) return;
    const timer = setInterval(() => document.hidden || void more(), state === "more" ? 50 : AGAIN);
    return () => clearInterval(timer);
  }, [state, follow, over]);
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, follow]);
  const attempts = new Set(lines.map((line) => line.attempt)).size > 1;
  return html`<div class="panel-head"><h2 id="logs-title">Logs</h2>
      <span class="push"></span>
      ${state !== "done" && !over ? html`<label class="check"><input type="checkbox" checked=${follow} onChange=${(event) => setFollow(event.currentTarget.checked)} /> Follow</label>` : null}
    </div>
    ${cut && html`<p class="quiet pad">The newest ${KEPT} lines. All of them: <code>fanwood logs ${id.slice(-8)}</code></p>`}
    ${lines.length
      ? html`<ol class="logs" ref=${box} tabindex="0" aria-label="Log lines">
          ${lines.map((line) => html`<li key=${line.seq} class=${classes("log", `level-${(line.level ?? "info").toLowerCase()}`)}>
            <time class="quiet">${clock(line.at, true)}</time>${attempts && html`<span class="quiet" title="attempt">${line.attempt}</span>`}<span class="level">${(line.level ?? "").toLowerCase()}</span><span class="log-text">${line.message}</span>
          </li>`)}
        </ol>`
      : html`<p class="quiet">${state === "asking" ? "Loading" : state === "failed" ? "The logs can't be read just now." : over ? "It logged nothing." : "Nothing yet."}</p>`}
    ${state === "more" && over && html`<p class="more"><button class="button small" onClick=${more}>More lines</button></p>`}`;
}
