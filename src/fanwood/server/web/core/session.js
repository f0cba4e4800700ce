// Who looks, and what they may. The token comes in the fragment of the link that was printed, and goes out as a header.

import { signal } from "./html.js";

const KEY = "fanwood.token";

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage is switched off: the token lives as long as the page
  }
}

function taken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!found) return stored();
  history.replaceState(null, "", location.pathname + location.search);
  keep(found);
  return found;
}

/** @param {string} token */
function keep(token) {
  try {
    localStorage.setItem(KEY, token);
  } catch {
    // as above
  }
}

let token = taken();

/** @returns {Record<string, string>} */
export const credentials = () => (token ? { Authorization: `Bearer ${token}` } : {});

/** @param {string} typed */
export function logIn(typed) {
  token = typed.trim();
  keep(token);
}

/**
 * @typedef {object} Me
 * @property {string} [name]
 * @property {string} [role] viewer, operator or admin
 * @property {string} [namespace] the only one that there is for them
 * @property {boolean} [read_only]
 * @property {boolean} [payloads]
 */

/** Null until it is known. */
export const me = signal(/** @type {Me | null} */ (null));
const RANKS = ["viewer", "operator", "admin"];

/** @param {string} role */
export function may(role) {
  const who = me.value;
  return Boolean(who && !who.read_only && RANKS.indexOf(who.role ?? "viewer") >= RANKS.indexOf(role));
}
