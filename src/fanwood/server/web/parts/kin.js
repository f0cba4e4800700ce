// What a run has to do with another one that is not above or below it.

import { shortId } from "../core/format.js";
import { html } from "../core/html.js";
import { href } from "../core/place.js";

/** @type {Record<string, [string, string]>} how it is called, and what that means */
const HOW = {
  shares: ["shares", "It waits for a run that calls of its tree share"],
  helps: ["hedge of", "The second run of what took too long"],
  helped: ["has the hedge", "Its second run: the end that comes first counts"],
  shared: ["shared", "Calls of its tree share it"],
};

/** @type {Record<string, [string, string]>} */
const MADE = {
  fork: ["fork of", "It takes what that run had finished"],
  copy: ["copy of", "It has completed as that run did, and was not executed"],
  again: ["instead of", "It is done again, with what was asked for after it"],
};

/** What it is in a fork. @param {{made?: {how: string, of: string}}} props */
export function MadeTag({ made }) {
  if (!made || !MADE[made.how]) return null;
  const [word, title] = MADE[made.how];
  return html`<span class="tag nowrap" title=${title}>${word} <a class="linkish mono" tabindex="-1" href=${href(`/r/${made.of}`)}>${shortId(made.of)}</a></span>`;
}

/** @param {{kin?: {how: string, id: string, task: string, state: string}}} props */
export function KinTag({ kin }) {
  if (!kin || !HOW[kin.how]) return null;
  const [word, title] = HOW[kin.how];
  if (kin.how === "shared") return html`<span class="tag" title=${title}>${word}</span>`;
  return html`<span class="tag nowrap" title=${`${title}: ${kin.task}, ${kin.state}`}>${word} <a class="linkish" tabindex="-1" href=${href(`/r/${kin.id}`)}>${kin.task} <span class="mono">${shortId(kin.id)}</span></a></span>`;
}
