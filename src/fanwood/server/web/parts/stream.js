// What a run gives out while it works (ctx.put_stream): read along as it comes, a model's tokens say.

import { query, stream } from "../core/api.js";
import { count, many } from "../core/format.js";
import { html, useEffect, useRef, useState } from "../core/html.js";

const KEPT = 200_000; // characters in the page
const AGAIN = 2000;

/** @typedef {{seq: number, attempt: number, text?: string, bytes?: string, starts_over?: boolean}} Chunk */
/** What an attempt gave out. @typedef {{attempt: number, text: string}} Said */

/** @param {Said[]} old @param {Chunk} chunk @returns {Said[]} */
export function joined(old, chunk) {
  const text = chunk.text ?? `[${chunk.bytes?.length ? Math.floor((chunk.bytes.replaceAll("=", "").length * 3) / 4) : 0} bytes]\n`;
  const last = old.at(-1);
  if (!last || last.attempt !== chunk.attempt) return [...old, { attempt: chunk.attempt, text }];
  return [...old.slice(0, -1), { ...last, text: (last.text + text).slice(-KEPT) }];
}

/** @param {{id: string, over: boolean}} props */
export function RunStream({ id, over }) {
  const [said, setSaid] = useState(/** @type {Said[]} */ ([]));
  const [chunks, setChunks] = useState(0);
  const [state, setState] = useState(/** @type {"reading" | "lost" | "done" | "hidden"} */ ("reading"));
  const [follow, setFollow] = useState(!over);
  const [turn, setTurn] = useState(0); // a run that goes on again is read again
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const last = useRef(-1);
  useEffect(() => {
    if (state === "done" && !over) setTurn((old) => old + 1);
  }, [over]);
  useEffect(() => {
    const control = new AbortController();
    void follows(id, last, control, (found) => {
      setSaid((old) => found.reduce(joined, old));
      setChunks((old) => old + found.length);
    }, setState);
    return () => control.abort();
  }, [id, turn]);
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [said, follow]);
  if (state === "hidden") return null;
  return html`<section class="section" aria-labelledby="stream-title">
    <div class="panel-head"><h2 id="stream-title">Stream</h2>
      <span class="quiet">${many(chunks, "chunk")}</span>
      ${state === "lost" && html`<span class="warn" role="status">reconnecting</span>`}
      <span class="push"></span>
      ${state !== "done" && html`<label class="check"><input type="checkbox" checked=${follow} onChange=${(/** @type {any} */ event) => setFollow(event.currentTarget.checked)} /> Follow</label>`}
    </div>
    <div class="stream" ref=${box} tabindex="0" role="region" aria-label="What the run gives out">
      ${said.map((each, at) => html`${at > 0 && html`<p class="stream-again warn">attempt ${count(each.attempt)} starts over</p>`}<pre class=${at < said.length - 1 ? "quiet" : ""}>${each.text}</pre>`)}
      ${!said.length && html`<p class="quiet">${state === "done" ? "It gave out nothing." : "Nothing yet."}</p>`}
    </div>
  </section>`;
}

/** Until the run has ended: read, and after a break go on from there.
 * @param {string} id @param {{current: number}} last @param {AbortController} control @param {(chunks: Chunk[]) => void} come @param {(state: "reading" | "lost" | "done" | "hidden") => void} tell */
async function follows(id, last, control, come, tell) {
  while (!control.signal.aborted) {
    try {
      const reader = await stream(`/runs/${id}/stream${query({ after: last.current })}`, control.signal, {});
      tell("reading");
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
        rest = blocks.pop() ?? "";
        const found = [];
        for (const block of blocks) {
          const name = /^event: (\w+)$/m.exec(block)?.[1];
          const data = /^data: (.*)$/m.exec(block)?.[1];
          if (name === "end") return tell("done");
          if (name === "chunk" && data) found.push(JSON.parse(data));
        }
        if (found.length) {
          last.current = found.at(-1).seq;
          come(found);
        }
      }
    } catch (error) {
      if (control.signal.aborted) return;
      const answered = /** @type {{status?: number}} */ (error).status;
      if (answered === 401 || answered === 403 || answered === 404) return tell("hidden");
      tell("lost");
    }
    await new Promise((done) => setTimeout(done, AGAIN));
  }
}
