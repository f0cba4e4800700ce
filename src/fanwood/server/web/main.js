// Where everything begins: who asks, what is asked for, and the page that shows it.

import { get, Problem } from "./core/api.js";
import { html, lazy, render, signal, useEffect, useSignal } from "./core/html.js";
import { hold, useKeys } from "./core/keys.js";
import { go, href, place } from "./core/place.js";
import { credentials, me } from "./core/session.js";
import { asTables } from "./draw/canvas.js";
import { Refused } from "./parts/feedback.js";
import { Shell } from "./parts/shell.js";

// What nobody opens is not transferred.
const TreesPage = lazy(() => import("./pages/trees.js"), "TreesPage");
const TreePage = lazy(() => import("./pages/tree.js"), "TreePage", { plain: true });
const RunPage = lazy(() => import("./pages/run.js"), "RunPage");
const FailuresPage = lazy(() => import("./pages/failures.js"), "FailuresPage");
const TasksPage = lazy(() => import("./pages/tasks.js"), "TasksPage");
const StartPage = lazy(() => import("./pages/start.js"), "StartPage");
const WorkersPage = lazy(() => import("./pages/workers.js"), "WorkersPage");
const EventsPage = lazy(() => import("./pages/events.js"), "EventsPage");
const EventPage = lazy(() => import("./pages/events.js"), "EventPage");
const StorePage = lazy(() => import("./pages/store.js"), "StorePage");
const ActionsPage = lazy(() => import("./pages/actions.js"), "ActionsPage");
const PromisePage = lazy(() => import("./pages/promise.js"), "PromisePage");
const SearchPage = lazy(() => import("./pages/search.js"), "SearchPage");
const Search = lazy(() => import("./parts/search.js"), "Search", { bare: true });
const Help = lazy(() => import("./parts/help.js"), "Help", { bare: true });

/** @type {[RegExp, (found: string[]) => any][]} */
const PAGES = [
  [/^\/$/, () => html`<${TreesPage} />`],
  [/^\/t\/([\w-]+)$/, ([, id]) => html`<${TreePage} key=${id} id=${id} />`],
  [/^\/r\/([\w-]+)$/, ([, id]) => html`<${RunPage} key=${id} id=${id} />`],
  [/^\/failures$/, () => html`<${FailuresPage} />`],
  [/^\/tasks$/, () => html`<${TasksPage} />`],
  [/^\/tasks\/([^/]+)$/, ([, name]) => html`<${StartPage} key=${name} name=${decodeURIComponent(name)} />`],
  [/^\/workers$/, () => html`<${WorkersPage} />`],
  [/^\/events$/, () => html`<${EventsPage} />`],
  [/^\/events\/([^/]+)$/, ([, id]) => html`<${EventPage} key=${id} id=${decodeURIComponent(id)} />`],
  [/^\/store$/, () => html`<${StorePage} />`],
  [/^\/actions$/, () => html`<${ActionsPage} />`],
  [/^\/promise$/, () => html`<${PromisePage} />`],
  [/^\/search$/, () => html`<${SearchPage} />`],
];

const problem = signal(/** @type {any} */ (null));
const open = signal(/** @type {"" | "search" | "help"} */ (""));

/** Whether what stands for a name in it can be told. @param {string} path */
function isReadable(path) {
  try {
    return decodeURIComponent(path) !== "";
  } catch {
    return false;
  }
}

/** @param {string} path */
function page(path) {
  for (const [pattern, draw] of PAGES) {
    const found = pattern.exec(path);
    if (found && isReadable(path)) return draw(found);
  }
  return html`<main id="main" class="frame" tabindex="-1"><h1 class="hidden">Nothing here</h1><${Refused} error=${new Problem(404)} /></main>`;
}

function App() {
  const { path } = useSignal(place);
  const dialog = useSignal(open);
  const error = useSignal(problem);
  useKeys(() => [
    { keys: "/, mod+k", does: "Search", run: () => (hold(), (open.value = "search")) },
    { keys: "?", does: "These keys", run: () => (open.value = "help") },
    { keys: "v", does: "Tables instead of pictures", run: () => (asTables.value = !asTables.value) },
    ...Object.entries({ t: ["/", "trees"], f: ["/failures", "failures"], k: ["/tasks", "tasks"], w: ["/workers", "workers"], e: ["/events", "events"], s: ["/store", "the store"], a: ["/actions", "actions"] }).map(
      ([key, [to, name]]) => ({ keys: `g ${key}`, does: `Go to ${name}`, run: () => go(href(to)) }),
    ),
  ]);
  useEffect(() => {
    const main = document.getElementById("main");
    if (document.activeElement === document.body) main?.focus({ preventScroll: true });
  }, [path]);
  const close = () => (open.value = "");
  return html`<${Shell} path=${path} onSearch=${() => (open.value = "search")} onHelp=${() => (open.value = "help")}>
    ${error && path !== "/promise" ? html`<main id="main" class="frame" tabindex="-1"><h1 class="hidden">Fanwood</h1><${Refused} error=${error} retry=${begin} /></main>` : page(path)}
    ${dialog === "search" && html`<${Search} onClose=${close} />`}
    ${dialog === "help" && html`<${Help} onClose=${close} />`}
  <//>`;
}

async function begin() {
  // Who settles a promise is let in by its token, and is nobody else.
  if (place.peek().path === "/promise" && !credentials().Authorization) return;
  try {
    me.value = await get("/me");
    problem.value = null;
  } catch (error) {
    // Only a missing login keeps the pages from being shown: they say themselves what else is wrong.
    if (error.status === 401) problem.value = error;
    else setTimeout(begin, 5000);
  }
}

void begin();
const root = document.getElementById("page");
if (root) {
  root.replaceChildren();
  render(html`<${App} />`, root);
}
