// What has happened: events, the newest first, and one of them.

import { get, query } from "../core/api.js";
import { age, now, stamp, when } from "../core/format.js";
import { html, lazy, useRef, useSignal, useState } from "../core/html.js";
import { useKeys } from "../core/keys.js";
import { go, href, place } from "../core/place.js";
import { useResource } from "../core/resource.js";
import { may, me } from "../core/session.js";
import { Chips } from "../parts/chips.js";
import { Empty, Freshness, tell } from "../parts/feedback.js";
import { since, Span, Typed } from "../parts/filters.js";
import { Payload } from "../parts/payload.js";
import { Page } from "../parts/shell.js";
import { shown } from "./treetabs.js";

const Push = lazy(() => import("../parts/push.js"), "Push", { bare: true });

const AT_ONCE = 50;

/** @param {string} id */
export const eventLink = (id) => href(`/events/${encodeURIComponent(id)}`);

export function EventsPage() {
  useSignal(me);
  const { query: asked } = useSignal(place);
  const [isPushing, push] = useState(false);
  const [key, scope, span] = [asked.get("key"), asked.get("scope"), asked.get("span")];
  const from = since(span);
  const list = useEvents(`/events${query({ key, scope, since: from, brief: true, limit: AT_ONCE })}`, query({ key, scope, span }));
  const mayPush = may("operator") && !me.value?.namespace; // events are of none
  useKeys(() => (mayPush ? [{ keys: "p", does: "Push an event", run: () => push(true) }] : []));
  const button = mayPush && html`<button class="button" onClick=${() => push(true)}>Push an event</button>`;
  return html`<${Page} title="Events">
    <div class="page-head"><h1>Events</h1><span class="push"></span><${Freshness} every=${5} />${button}</div>
    <${Filters} asked=${asked} />
    ${shown(list.first, () =>
      list.events.length
        ? html`<${Lines} events=${list.events} />`
        : key || scope || from
          ? html`<${Empty} title="No event fits these filters"><p class="soft">A key and a scope are compared whole. Take one away, or look further back.</p><//>`
          : html`<${Empty} title="Nothing has happened yet"><p class="soft">Programs push events with <code>fanwood.events.push("order:paid")</code>, people with <code>fanwood events push order:paid</code>${mayPush ? ", or here" : ""}. Runs that wait for one go on then.</p><//>`,
    )}
    ${list.more && html`<p class="more"><button class="button" onClick=${list.load} disabled=${list.busy}>Older events</button></p>`}
    ${isPushing && html`<${Push} eventKey=${key ?? ""} scope=${scope ?? ""} onClose=${() => push(false)} after=${list.first.reload} />`}
  <//>`;
}

/** The newest, asked for again and again, and what older ones were asked for. @param {string} path @param {string} same see `useResource` */
function useEvents(path, same) {
  const first = useResource(path, { every: 5000, same });
  const known = useRef({ same: "?", events: /** @type {any[]} */ ([]), more: false });
  const [busy, setBusy] = useState(false);
  if (known.current.same !== same) known.current = { same, events: [], more: false };
  if (first.data) {
    // New ones push the oldest of the first page out of it: what was known of them goes on where that ends. If so many
    // came at once that it doesn't, the list begins anew.
    const fresh = first.data;
    const last = fresh.at(-1)?.id;
    const at = fresh.length < AT_ONCE ? -1 : known.current.events.findIndex((event) => event.id === last);
    known.current = at < 0 ? { same, events: fresh, more: fresh.length === AT_ONCE } : { ...known.current, events: [...fresh, ...known.current.events.slice(at + 1)] };
  }
  const { events, more } = known.current;
  async function load() {
    setBusy(true);
    try {
      const older = await get(`${path}&after=${encodeURIComponent(events.at(-1).id)}`);
      if (known.current.same === same) known.current = { same, events: [...known.current.events, ...older], more: older.length === AT_ONCE };
    } catch (error) {
      tell(error.message, { bad: true });
    }
    setBusy(false);
  }
  return { first, events, more, busy, load };
}

/** @param {{asked: URLSearchParams}} props */
function Filters({ asked }) {
  const chips = ["key", "scope"].filter((name) => asked.get(name)).map((name) => ({ name, text: asked.get(name) ?? "", clears: [name] }));
  return html`<form class="filters" role="search" aria-label="Filter events" onSubmit=${(event) => event.preventDefault()}>
      <${Span} label="Pushed" asked=${asked} />
      <${Typed} name="key" label="Key" asked=${asked} />
      <${Typed} name="scope" label="Scope" asked=${asked} />
    </form>
    <${Chips} chips=${chips} />`;
}

/** As a line of it. @param {any} metadata */
const inLine = (metadata) =>
  metadata && typeof metadata === "object"
    ? Object.entries(metadata)
        .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
        .join(", ")
    : "";

/** @param {{events: any[]}} props */
function Lines({ events }) {
  const [at, setAt] = useState(-1);
  const lines = useRef(/** @type {HTMLTableElement | null} */ (null));
  const to = (/** @type {number} */ next) => {
    const line = Math.max(0, Math.min(events.length - 1, next));
    setAt(line);
    lines.current?.tBodies[0].rows[line]?.querySelector("a")?.focus();
  };
  useKeys(() => [
    { keys: "j", does: "Next event", run: () => to(at + 1) },
    { keys: "k", does: "Event before", run: () => to(at - 1) },
    { keys: "o", does: "Open it", run: () => events[at] && go(eventLink(events[at].id)) },
  ]);
  return html`<div class="scroller" tabindex="-1"><table class="list events-list" ref=${lines}>
    <caption class="hidden">Events, the newest first</caption>
    <thead><tr><th scope="col">Event</th><th scope="col">Scope</th><th scope="col">Payload</th><th scope="col" class="wide">Metadata</th><th scope="col" class="num">Pushed</th></tr></thead>
    <tbody>
      ${events.map(
        (event, line) => html`<tr key=${event.id} class="linked">
          <td class="cut"><a class="task stretched" href=${eventLink(event.id)} onFocus=${() => setAt(line)}>${event.key}</a></td>
          <td class="cut event-scope" data-name="scope ">${event.scope === undefined ? html`<span class="quiet none">–</span>` : event.scope}</td>
          <td class="cut preview">${["{}", "null"].includes(event.preview) ? "" : event.preview}</td>
          <td class="cut wide soft">${inLine(event.metadata)}</td>
          <td class="num quiet age" title=${stamp(event.created_at)}>${age(now() - event.created_at)} ago</td>
        </tr>`,
      )}
    </tbody>
  </table></div>`;
}

/** @param {{id: string}} props */
export function EventPage({ id }) {
  const path = encodeURIComponent(id);
  const resource = useResource(`/events/${path}?brief=true`);
  const event = resource.data;
  return html`<${Page} title=${event?.key ?? "Event"}>
    <nav class="way" aria-label="Above"><ol><li><a href=${href("/events")}>Events</a></li><li aria-current="page"><span class="mono">${id}</span></li></ol></nav>
    <div class="page-head"><h1>${event?.key ?? "Event"}</h1></div>
    ${shown(resource, () => html`<${One} event=${event} path=${path} />`)}
  <//>`;
}

/** @param {{event: any, path: string}} props */
function One({ event, path }) {
  /** @type {[string, any][]} */
  const facts = [
    ["Event", html`<code class="whole-id">${event.id}</code>`],
    ["Key", html`<a class="linkish" href=${href("/events", { key: event.key })}>${event.key}</a>`],
    ["Scope", event.scope !== undefined && html`<a class="linkish" href=${href("/events", { scope: event.scope })}>${event.scope}</a>`],
    ["Pushed", html`<time title=${stamp(event.created_at)}>${when(event.created_at, now(), true)}</time>`],
  ];
  const hasMetadata = event.metadata && Object.keys(event.metadata).length > 0;
  return html`<div class="run-columns">
    <div>
      <div class="section"><h2>Payload</h2><${Payload} path=${`/event-payloads/payload/${path}`} part="payload" /></div>
      ${hasMetadata && html`<div class="section"><h2>Metadata</h2><${Payload} path=${`/event-payloads/metadata/${path}`} part="metadata" /></div>`}
    </div>
    <aside class="run-side" aria-label="About this event">
      <dl class="facts">${facts.filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    </aside>
  </div>`;
}
