// What every module of the pages draws with: preact's functions, htm's templates, and signals as a hook.

import { Fragment, h, render } from "../vendor/preact.js";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/hooks.js";
import htm from "../vendor/htm.js";
import { computed, effect, signal } from "../vendor/signals.js";

export const html = htm.bind(h);
export { computed, effect, Fragment, render, signal, useEffect, useLayoutEffect, useMemo, useRef, useState };

/**
 * A signal's value; what uses it is drawn again when it changes.
 * @template T
 * @param {{value: T, peek(): T}} source
 * @returns {T}
 */
export function useSignal(source) {
  const [value, set] = useState(() => source.peek());
  useEffect(
    () =>
      effect(() => {
        const next = source.value;
        set(() => next);
      }),
    [source],
  );
  return value;
}

/** Draws anew every second, for what changes with time alone. @param {boolean} [on] */
export function useTick(on = true) {
  const [, set] = useState(0);
  useEffect(() => {
    const timer = on ? setInterval(() => document.hidden || set(Date.now()), 1000) : 0;
    return () => clearInterval(timer);
  }, [on]);
}

/** Class names, without those that are false. @param {...(string | false | null | undefined)} names */
export const classes = (...names) => names.filter(Boolean).join(" ");

/** @type {Promise<unknown> | undefined} */
let styles;

/** Styles that only what is fetched later needs. */
const later = () =>
  (styles ??= new Promise((done, fail) => {
    const href = new URL("../styles/later.css", import.meta.url).href;
    document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href, onload: done, onerror: fail }));
  }));

/**
 * A component whose module is fetched when it is first drawn. `plain`: it has no styles of its own; `bare`: nothing is
 * shown until it is there.
 * @param {() => Promise<any>} load @param {string} name @param {{plain?: boolean, bare?: boolean}} [how]
 */
export function lazy(load, name, { plain = false, bare = false } = {}) {
  /** @type {any} */
  let found = null;
  return (/** @type {any} */ props) => {
    const [part, set] = useState(() => found);
    const [failed, fail] = useState(false);
    useEffect(() => {
      if (part) return;
      const again = () => new Promise((done) => setTimeout(done, 200)).then(load);
      Promise.all([load().catch(again), plain || later()]).then(([module]) => set(() => (found = module[name])), () => fail(true));
    }, []);
    if (part) return html`<${part} ...${props} />`;
    if (bare && !failed) return null;
    return html`<div class="frame" aria-busy=${!failed}>${failed ? html`<p role="alert">This part of the page could not be fetched. <a href="">Load it again</a></p>` : null}</div>`;
  };
}
