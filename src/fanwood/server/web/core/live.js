// What changes, as it changes: one stream for the whole tab, read by fetch, since EventSource can't send a header.
// A refused or broken stream becomes polling; a hidden tab lets go of it after half a minute.

import { stream } from "./api.js";
import { signal } from "./html.js";

const HIDDEN_FOR = 30_000;
const SILENT_FOR = 40_000; // the server says something every 15 s
const POLL_EVERY = 3_000;
const LATE = 5_000; // after which it is polled, whatever becomes of the stream: something on the way may hold it back

/** @typedef {{event: string, id: string, data: any}} Message `poll`, if there is no stream and it is time to look */
/** @typedef {(message: Message) => void} Listener */

/** off: nobody asks; live, polling; lost: the server can't be reached. */
export const status = signal(/** @type {"off" | "connecting" | "live" | "polling" | "lost"} */ ("off"));
/** When the server last said anything, by this machine, in microseconds. */
export const heard = signal(0);
/** Whether what is asked for again and again was not answered the last time. */
export const missed = signal(false);

/** @type {Map<string, Set<Listener>>} */
const topics = new Map();
/** @type {AbortController | null} */
let reading = null;
let poller = 0;
let settling = 0;
let hiding = 0;
let last = "";

/** @param {string} topic @param {Listener} listener @returns {() => void} */
export function listen(topic, listener) {
  const listeners = topics.get(topic) ?? new Set();
  topics.set(topic, listeners.add(listener));
  if (listeners.size === 1) settle();
  return () => {
    listeners.delete(listener);
    if (listeners.size) return;
    topics.delete(topic);
    settle();
  };
}

/** Something was heard by other ways than the stream. */
export function touch() {
  heard.value = Date.now() * 1000;
  missed.value = false;
  if (status.peek() === "lost") status.value = "polling";
}

/** Pages come and go in one turn: the stream follows when that has settled. */
function settle() {
  clearTimeout(settling);
  settling = setTimeout(() => {
    last = "";
    connect();
  }, 30);
}

function connect() {
  reading?.abort();
  clearInterval(poller);
  reading = null;
  if (!topics.size || document.hidden) {
    status.value = "off";
    return;
  }
  reading = new AbortController();
  if (status.peek() !== "live") status.value = "connecting";
  void follow(reading);
}

/** @param {AbortController} control */
async function follow(control) {
  let failures = 0;
  while (!control.signal.aborted) {
    try {
      await read(control, () => (failures = 0));
    } catch (error) {
      if (control.signal.aborted) return;
      const answered = /** @type {{status?: number}} */ (error).status;
      if (answered === 401 || answered === 403) {
        status.value = "off";
        return ask(); // once: so that the page hears it as well
      }
      status.value = answered ? "polling" : "lost";
    }
    if (control.signal.aborted) return;
    failures += 1;
    if (failures === 2) {
      if (status.peek() !== "lost") status.value = "polling";
      poll(control);
    }
    await new Promise((done) => setTimeout(done, Math.min(15_000, 500 * 2 ** failures)));
  }
}

/** @param {AbortController} control @param {() => void} well */
async function read(control, well) {
  const asked = [...topics.keys()].join(",");
  const headers = last ? { "Last-Event-ID": last } : {};
  const inner = new AbortController();
  const stop = () => inner.abort();
  control.signal.addEventListener("abort", stop);
  let silence = setTimeout(stop, SILENT_FOR);
  const late = setTimeout(() => {
    status.value = "polling";
    poll(control);
  }, LATE);
  try {
    const reader = await stream(`/live?topics=${encodeURIComponent(asked)}`, inner.signal, headers);
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(stop, SILENT_FOR);
      heard.value = Date.now() * 1000;
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop() ?? "";
      blocks.forEach(dispatch);
      // What is cut off before there was anything to show goes as badly as what never came.
      if (!blocks.some((block) => !block.startsWith("event: hello"))) continue;
      clearTimeout(late);
      clearInterval(poller);
      status.value = "live";
      well();
    }
  } finally {
    clearTimeout(silence);
    clearTimeout(late);
    control.signal.removeEventListener("abort", stop);
  }
}

/** One event of the stream. @param {string} block */
function dispatch(block) {
  const message = { event: "message", id: "", topic: "", data: /** @type {any} */ (null) };
  let text = "";
  for (const line of block.split("\n")) {
    if (line.startsWith(":")) continue;
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name === "data") text += value;
    else if (name === "event" || name === "id") message[name] = value;
  }
  if (!text) return;
  message.data = JSON.parse(text);
  if (message.id) last = message.id;
  const topic = message.data?.topic;
  for (const [name, listeners] of topics)
    if (!topic || topic === name) for (const listener of listeners) listener(message);
}

/** @param {AbortController} control */
function poll(control) {
  clearInterval(poller);
  poller = setInterval(() => {
    if (control.signal.aborted) return clearInterval(poller);
    ask();
  }, POLL_EVERY);
}

function ask() {
  for (const listeners of topics.values())
    for (const listener of listeners) listener({ event: "poll", id: "", data: null });
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(connect, HIDDEN_FOR);
  else if (!reading || reading.signal.aborted) connect();
});
