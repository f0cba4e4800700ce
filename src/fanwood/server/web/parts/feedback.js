// What stands where data will be, where there is none, and where it could not be had.

import { clock, count } from "../core/format.js";
import { classes, html, signal, useEffect, useSignal, useState } from "../core/html.js";
import { heard, missed, status } from "../core/live.js";
import { logIn } from "../core/session.js";

const LATE = 5_000;

/** Lines of what is to come. @param {{lines?: number}} props */
export function Loading({ lines = 4 }) {
  const [late, set] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => set(true), LATE);
    return () => clearTimeout(timer);
  }, []);
  return html`<div class="loading" role="status">
    ${late ? html`<p class="quiet">The server takes long to answer.</p>` : html`<span class="hidden">Loading</span>`}
    ${Array.from({ length: lines }, (_, at) => html`<span key=${at} class="bone" style=${{ width: `${88 - ((at * 29) % 45)}%` }}></span>`)}
  </div>`;
}

/** @param {{title: string, children?: any}} props */
export function Empty({ title, children }) {
  return html`<div class="empty">
    <p class="empty-title">${title}</p>
    ${children}
  </div>`;
}

/** The first of very many, and what shows more of them.
 * @template T @param {T[]} all @param {number} at so many at a time @returns {[T[], any]} */
export function useSome(all, at) {
  const [most, set] = useState(at);
  const rest = all.length - most;
  return [all.slice(0, most), rest > 0 && html`<p class="more"><button class="button" onClick=${() => set(most + at)}>Show more</button> <span class="quiet">${count(rest)} more</span></p>`];
}

/** @param {{error: import("../core/api.js").Problem, retry?: () => void}} props */
export function Refused({ error, retry }) {
  if (error.status === 401) return html`<${NoToken} />`;
  const [title, text] = {
    0: [error.title || "The server can't be reached", "It is asked again every few seconds."],
    403: ["That is not yours to see", error.message],
    404: ["There is no such thing here", "It may have been pruned, or belong to another namespace."],
    503: [error.title || "The database can't be asked just now", "It is tried again. If its file was removed or replaced, start fanwood ui again; fanwood doctor says more."],
    429: ["Too much was asked at once", "Wait a moment, then ask again."],
  }[error.status] ?? [error.title || "Something went wrong", error.message];
  return html`<div class="empty refused" role="alert">
    <p class="empty-title">${title}</p>
    <p class="soft">${text}</p>
    ${error.code && html`<p class="quiet"><code>${error.code}</code></p>`}
    ${retry && html`<p><button class="button" onClick=${retry}>Ask again</button></p>`}
  </div>`;
}

function NoToken() {
  const [typed, set] = useState("");
  const enter = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!typed.trim()) return;
    logIn(typed.includes("#token=") ? typed.split("#token=")[1] : typed);
    location.reload();
  };
  return html`<div class="empty" role="alert">
    <p class="empty-title">This page needs its token</p>
    <p class="soft">Open the link that <code>fanwood ui</code> printed, or paste the link or its token here. It stays in this browser.</p>
    <form class="inline-form" onSubmit=${enter}>
      <input type="password" aria-label="Token" autocomplete="off" value=${typed} onInput=${(event) => set(event.currentTarget.value)} />
      <button class="button primary">Open</button>
    </form>
  </div>`;
}

const WORDS = { live: ["live", "good"], polling: ["polling", "good"], connecting: ["connecting", "still"], off: ["paused", "still"], lost: ["reconnecting", "bad"] };

/** Whether what is shown is fresh.
 * @param {{asOf?: number, final?: boolean, over?: boolean, every?: number}} props over: it has ended, and is counted once more; every: seconds, if it is asked for again and again */
export function Freshness({ asOf, final = false, over = false, every = 0 }) {
  const how = useSignal(status);
  const last = useSignal(heard);
  const away = useSignal(missed);
  const at = asOf ?? last;
  const [word, tone] = how === "lost" || (every && away) ? WORDS.lost : final ? ["final", "still"] : over ? ["ended", "still"] : every && how !== "live" ? [`every ${every} s`, "good"] : WORDS[how];
  return html`<span class=${classes("freshness", `tone-${tone}`)}>
    <span class=${classes("dot", tone === "good" && "pulse")} aria-hidden="true"></span>${word}
    ${at ? html`<span class="quiet">as of ${clock(at)}</span>` : null}
  </span>`;
}

/** Said once to who listens instead of looking. */
const said = signal("");
let saidAt = 0;
/** @param {string} text @param {boolean} [now] even if something was said a moment ago */
export function announce(text, now = false) {
  if (!now && Date.now() - saidAt < 10_000) return;
  saidAt = Date.now();
  said.value = text;
}

/** What was done, for a few seconds. */
const notice = signal(/** @type {{text: string, href?: string, bad?: boolean} | null} */ (null));
/** @param {string} text @param {{href?: string, bad?: boolean}} [more] */
export function tell(text, more = {}) {
  notice.value = { text, ...more };
}

export function Voices() {
  const text = useSignal(said);
  const shown = useSignal(notice);
  useEffect(() => {
    if (!shown) return;
    const timer = setTimeout(() => (notice.value = null), 8000);
    return () => clearTimeout(timer);
  }, [shown]);
  return html`<div class="hidden" aria-live="polite">${text}</div>
    <div class="notices" role="status">
      ${shown &&
      html`<div class=${classes("notice", shown.bad && "bad")}>
        <span>${shown.text}</span>
        ${shown.href && html`<a class="linkish" href=${shown.href}>See it</a>`}
        <button class="button plain small" aria-label="Dismiss" onClick=${() => (notice.value = null)}>✕</button>
      </div>`}
    </div>`;
}
