// Keys: a page says what they do, the help shows them all. None works while something is typed.

import { useLayoutEffect } from "./html.js";

/** @typedef {{keys: string, does: string, run: (event: KeyboardEvent) => void}} Binding keys: `j`, `g t`, `mod+k` */

/** @type {Set<() => Binding[]>} */
const sources = new Set();
let prefix = "";
let forgetting = 0;

/** @type {string | null} */
let held = null;

/** What is typed before something is there to type into is for that, and no key of the page. */
export function hold() {
  held = "";
  setTimeout(() => (held = null), 1000);
}

/** What was typed meanwhile. */
export function release() {
  const text = held ?? "";
  held = null;
  return text;
}

/** Those of a page or part, as long as it is shown. @param {() => Binding[]} bindings */
export function useKeys(bindings) {
  useLayoutEffect(() => {
    sources.add(bindings);
    return () => void sources.delete(bindings);
  });
}

/** All that work now, the innermost first. @returns {Binding[]} */
export const bindings = () => [...sources].toReversed().flatMap((source) => source());

/** @param {EventTarget | null} target */
const isTyping = (target) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  const modified = event.ctrlKey || event.metaKey;
  if (event.altKey || (!modified && isTyping(event.target))) return;
  if (held !== null && !modified && event.key.length === 1) {
    held += event.key;
    return event.preventDefault();
  }
  if (!modified && document.querySelector("dialog[open]")) return;
  const pressed = modified ? `mod+${event.key.toLowerCase()}` : prefix ? `${prefix} ${event.key}` : event.key;
  prefix = "";
  const known = bindings();
  const found = known.find((binding) => binding.keys.split(", ").includes(pressed));
  if (found) {
    event.preventDefault();
    found.run(event);
  } else if (known.some((binding) => binding.keys.startsWith(`${pressed} `))) {
    prefix = pressed;
    clearTimeout(forgetting);
    forgetting = setTimeout(() => (prefix = ""), 1500);
  }
});
