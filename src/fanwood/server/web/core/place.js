// Where the page is: everything that can be seen has an address, and addresses are all there is to go by.

import { signal } from "./html.js";

/** What stands before all paths, if a proxy serves the pages below one. */
export const PREFIX = new URL(import.meta.url).pathname.split("/static/")[0];

/** @typedef {{path: string, query: URLSearchParams}} Place */

const read = () => ({
  path: location.pathname.slice(PREFIX.length) || "/",
  query: new URLSearchParams(location.search),
});

export const place = signal(/** @type {Place} */ (read()));
addEventListener("popstate", () => (place.value = read()));

/** @param {string} path @param {Record<string, unknown>} [query] what is null, false or empty is left out */
export function href(path, query) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {}))
    if (value !== null && value !== undefined && value !== "" && value !== false) params.set(name, String(value));
  const text = params.toString();
  return `${PREFIX}${path}${text ? `?${text}` : ""}`;
}

/** The address of this page with some of its query changed. @param {Record<string, unknown>} changes */
export function here(changes) {
  const { path, query } = place.peek();
  return href(path, { ...Object.fromEntries(query), ...changes });
}

/** @param {string} to @param {{replace?: boolean}} [options] */
export function go(to, { replace = false } = {}) {
  if (to === location.pathname + location.search) return;
  const moved = new URL(to, location.href).pathname !== location.pathname;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  place.value = read();
  if (moved && !replace) scrollTo(0, 0);
}

/** Change some of the query, without an entry in the history. @param {Record<string, unknown>} changes */
export const refine = (changes) => go(here(changes), { replace: true });

// Links are followed here, unless they lead away, or a new tab is wanted.
addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest?.("a[href]");
  if (!(link instanceof HTMLAnchorElement) || event.defaultPrevented || event.button) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || link.target || link.hasAttribute("download")) return;
  if (link.origin !== location.origin || !link.pathname.startsWith(PREFIX) || link.hash) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
