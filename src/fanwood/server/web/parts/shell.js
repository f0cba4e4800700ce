// What surrounds every page: its name, the way to the others, search and help.

import { html, useEffect, useSignal } from "../core/html.js";
import { href } from "../core/place.js";
import { me } from "../core/session.js";
import { Voices } from "./feedback.js";

/** @type {[string, string, RegExp][]} */
const LINKS = [
  ["/", "Trees", /^\/($|t\/|r\/)/],
  ["/failures", "Failures", /^\/failures/],
  ["/tasks", "Tasks", /^\/tasks/],
  ["/workers", "Workers", /^\/workers/],
  ["/events", "Events", /^\/events/],
  ["/store", "Store", /^\/store/],
  ["/actions", "Actions", /^\/actions/],
];

export const Mark = () => html`<svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" aria-hidden="true">
  <path d="M8 14.5V9M8 9C8 6 5 6 3 2.5M8 9c0-3 3-3 5-6.5M8 9V1.5" />
</svg>`;

/** @param {{path: string, onSearch: () => void, onHelp: () => void, children?: any}} props */
export function Shell({ path, onSearch, onHelp, children }) {
  const who = useSignal(me);
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to the page</a>
    <header class="top">
      <div class="top-in">
        <a class="brand" href=${href("/")}><${Mark} />Fanwood</a>
        <nav aria-label="Pages">
          ${LINKS.map(([to, name, fits]) => html`<a key=${to} href=${href(to)} aria-current=${fits.test(path) ? "page" : null}>${name}</a>`)}
        </nav>
        <span class="push"></span>
        ${who?.read_only ? html`<span class="tag">read-only</span>` : null}
        <button class="finder" onClick=${onSearch} aria-label="Search" aria-keyshortcuts="/ Control+K">
          <svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" aria-hidden="true"><circle cx="7" cy="7" r="4.5" /><path d="m10.5 10.5 3 3" /></svg>
          <span>Search runs</span><kbd aria-hidden="true">/</kbd>
        </button>
        <button class="button plain help-button" onClick=${onHelp} aria-label="Keys" aria-keyshortcuts="?">?</button>
      </div>
    </header>
    ${children}
    <${Voices} />`;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** A page's main part, with its title in the tab. @param {{title: string, children?: any}} props */
export function Page({ title, children }) {
  useEffect(() => void (document.title = title ? `${title} · Fanwood` : "Fanwood"), [title]);
  return html`<main id="main" class="frame" tabindex="-1">${children}</main>`;
}
