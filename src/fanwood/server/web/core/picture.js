// A tree's picture, kept fresh: by the stream if nothing narrows it, else asked for again when the tree has changed.

import { getIfNew, Problem, query } from "./api.js";
import { useEffect, useRef, useState } from "./html.js";
import { listen, touch } from "./live.js";
import { patched } from "./patch.js";

const AGAIN_AFTER = 2_000;

/**
 * @param {string} id @param {Record<string, string | number | null>} where
 * @returns {{view: any, error: any, gone: boolean, beat: number, reload: () => void}} beat: counts what was heard
 */
export function usePicture(id, where) {
  const asked = query(where);
  const [state, set] = useState({ view: null, error: null, gone: false, beat: 0, key: "" });
  const latest = useRef({ view: /** @type {any} */ (null), streamed: /** @type {{version: string, view: any} | null} */ (null), etag: "", key: "", at: 0, busy: false, again: 0 });
  const key = `${id}${asked}`;

  async function look(force = false) {
    const now = latest.current;
    if (now.busy && now.key === key && !force) return;
    if (now.key !== key) Object.assign(now, { key, etag: "", view: null });
    Object.assign(now, { busy: true, at: Date.now() });
    try {
      const answer = await getIfNew(`/trees/${id}/view${asked}`, now.etag);
      touch();
      if (now.key !== key) return;
      if (answer) Object.assign(now, { view: answer.data, etag: answer.etag });
      set((old) => ({ view: now.view, error: null, gone: false, beat: old.beat + 1, key }));
      if (now.view && now.view.done < 1) schedule(250);
    } catch (error) {
      if (now.key === key) set((old) => ({ ...old, view: old.key === key && error.status !== 401 ? old.view : null, error, key }));
    } finally {
      if (now.key === key) now.busy = false;
    }
  }

  /** @param {number} delay */
  function schedule(delay) {
    const now = latest.current;
    if (now.again) return;
    now.again = setTimeout(() => {
      now.again = 0;
      void look();
    }, delay);
  }

  /** @param {import("./live.js").Message} message */
  function hear({ event, data }) {
    const now = latest.current;
    if (event === "gone") set((old) => ({ ...old, gone: data.code !== "internal" && Boolean(old.view) }));
    else if (event === "trouble") set((old) => ({ ...old, error: new Problem(503, { detail: "The database can't be asked just now." }) }));
    else if (event === "poll" || (asked && (event === "view" || event === "delta"))) schedule(Math.max(0, now.at + AGAIN_AFTER - Date.now()));
    else if (event === "view" || event === "delta") {
      // A delta is one from a picture of the stream's own: what was fetched besides has other versions.
      if (event === "delta" && now.streamed?.version !== data.of) return schedule(0);
      const view = event === "view" ? data.view : patched(now.streamed?.view, data.delta);
      Object.assign(now, { streamed: { version: data.version, view }, view, key });
      set((old) => ({ view, error: null, gone: false, beat: old.beat + 1, key }));
    }
  }

  useEffect(() => {
    void look();
    const stop = listen(`tree:${id}`, hear);
    return () => {
      stop();
      clearTimeout(latest.current.again);
      latest.current.again = 0;
    };
  }, [key]);
  const fresh = state.key === key || state.key.startsWith(id);
  return { view: fresh ? state.view : null, error: state.key === key ? state.error : null, gone: state.gone, beat: state.beat, reload: () => void look(true) };
}
