// Asking the server. What it refuses is a Problem: RFC 9457's fields, and what the page makes of them.

import { PREFIX } from "./place.js";
import { credentials } from "./session.js";

export const API = `${PREFIX}/api/v1`;

export class Problem extends Error {
  /** @param {number} status @param {{title?: string, detail?: string, code?: string, errors?: unknown}} [body] */
  constructor(status, body = {}) {
    super(body.detail || body.title || (status ? `The server answered ${status}.` : "The server can't be reached."));
    this.status = status;
    this.title = body.title ?? "";
    this.code = body.code ?? "";
    this.errors = body.errors;
  }
}

const BUSY = 429;
const TRIES = 5;
const ANSWER = 20_000; // milliseconds until what is asked counts as not answered, to its last byte; what stays open has no such limit
const DONE = 60_000; // and what does something

/** What only asks is asked twice: a network that changes drops all that is under way; and again where somebody (in other tabs) has
 * asked for too much at a time, but for what stays open. @param {string} path @param {RequestInit} [init] */
async function send(path, init = {}) {
  const headers = { Accept: "application/json", ...credentials(), ...init.headers };
  const stays = headers.Accept !== "application/json";
  for (let left = init.method ? 0 : 1, busy = init.method || stays ? 0 : TRIES; ; left -= 1) {
    const late = new AbortController();
    if (!stays) {
      init.signal?.addEventListener("abort", () => late.abort());
      setTimeout(() => late.abort(), init.method ? DONE : ANSWER);
    }
    try {
      const response = await fetch(`${API}${path}`, { ...init, ...(stays ? {} : { signal: late.signal }), headers, credentials: "same-origin", cache: "no-store" });
      if (response.status !== BUSY || !busy) return response;
      busy -= 1;
      left += 1;
      await new Promise((done) => setTimeout(done, 500 + 1000 * Math.random()));
    } catch (error) {
      if (init.signal?.aborted) throw error;
      if (late.signal.aborted) throw slow(init.method);
      if (!left) throw new Problem(0);
      await new Promise((done) => setTimeout(done, 200));
    }
  }
}

/** @param {string} [method] */
const slow = (method) =>
  new Problem(0, method ? { title: "The server has not answered for a minute", detail: "The server has not answered for a minute. Look whether it was done." } : { title: "The server does not answer", detail: "The server has not answered for 20 s." });

/** All of an answer. @param {Promise<any>} body @param {AbortSignal} [signal] */
const whole = (body, signal) =>
  body.catch((error) => {
    throw signal?.aborted || error.name !== "AbortError" ? error : slow();
  });

/** @param {Response} response */
async function refuse(response) {
  const body = await response.json().catch(() => ({}));
  throw new Problem(response.status, body && typeof body === "object" ? body : {});
}

/** @param {Record<string, unknown>} params */
export function query(params) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(params))
    if (value !== null && value !== undefined && value !== "") found.set(name, String(value));
  const text = found.toString();
  return text ? `?${text}` : "";
}

/** @param {string} path @param {AbortSignal} [signal] */
export async function get(path, signal) {
  const response = await send(path, { signal });
  return response.ok ? whole(response.json(), signal) : refuse(response);
}

/** With what its headers say. @param {string} path @param {AbortSignal} [signal] */
export async function getRaw(path, signal) {
  const response = await send(path, { signal });
  return response.ok ? { text: await whole(response.text(), signal), headers: response.headers } : refuse(response);
}

/** Null if nothing has changed since `etag`. @param {string} path @param {string} [etag] @param {AbortSignal} [signal] */
export async function getIfNew(path, etag, signal) {
  const response = await send(path, { signal, headers: etag ? { "If-None-Match": etag } : {} });
  if (response.status === 304) return null;
  return response.ok ? { data: await whole(response.json(), signal), etag: response.headers.get("ETag") ?? "" } : refuse(response);
}

/** @param {string} path @param {unknown} [body] a string is JSON already */
export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  const response = await send(path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), headers });
  if (!response.ok) return refuse(response);
  const text = await response.text();
  return text ? JSON.parse(text) : {};
}

/** The body as it comes. @param {string} path @param {AbortSignal} signal @param {Record<string, string>} headers */
export async function stream(path, signal, headers) {
  const response = await send(path, { signal, headers: { ...headers, Accept: "text/event-stream" } });
  if (!response.ok || !response.body) return refuse(response);
  return response.body.pipeThrough(new TextDecoderStream()).getReader();
}
