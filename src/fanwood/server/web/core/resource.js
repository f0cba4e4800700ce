// A thing that is asked of the server: its data, or the problem, or neither yet.

import { get } from "./api.js";
import { useEffect, useRef, useState } from "./html.js";
import { missed, touch } from "./live.js";

/**
 * @template T
 * @typedef {{data: T | null, error: import("./api.js").Problem | null, loading: boolean, reload: () => Promise<void>}} Resource
 */

/**
 * What `path` answers; asked anew when it changes, and every so many milliseconds. Data stays while it is asked for again, and if it can't be had; but for who may not see it any more.
 * @param {string | null} path null: not yet
 * @param {{every?: number, same?: string | null}} [options] same: what is asked for under one name is one thing, though its path changes: data stays meanwhile
 * @returns {Resource<any>}
 */
export function useResource(path, { every = 0, same = path } = {}) {
  const [state, set] = useState({ same, data: null, error: null, loading: true });
  const latest = useRef(/** @type {AbortController | null} */ (null));
  const asked = useRef(false);

  async function load() {
    latest.current?.abort();
    if (path === null) return;
    const control = (latest.current = new AbortController());
    asked.current = true;
    set((old) => ({ ...old, loading: true }));
    try {
      const data = await get(path, control.signal);
      touch();
      set({ same, data, error: null, loading: false });
    } catch (error) {
      if (control.signal.aborted) return;
      if (every) missed.value = true;
      set((old) => ({ ...old, same, error, data: old.same === same && error.status !== 401 ? old.data : null, loading: false }));
    }
    if (latest.current === control) asked.current = false;
  }

  /** What is not answered yet is not asked anew: the answer may be slow, and is on its way. */
  function again() {
    if (document.hidden) return;
    if (asked.current) missed.value = true;
    else void load();
  }

  useEffect(() => {
    void load();
    const timer = every ? setInterval(again, every) : 0;
    return () => {
      clearInterval(timer);
      latest.current?.abort();
    };
  }, [path, every]);
  const fresh = state.same === same;
  return { data: fresh ? state.data : null, error: fresh ? state.error : null, loading: !fresh || state.loading, reload: load };
}
