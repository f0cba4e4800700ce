// States of runs: signs, words and order, as the command line has them.

/** @typedef {"queued" | "running" | "waiting" | "completed" | "failed" | "cancelled"} State */
/** @typedef {Partial<Record<State, number>>} Counts */

/** @type {Record<State, {glyph: string, word: string}>} */
export const STATES = {
  completed: { glyph: "✓", word: "done" },
  failed: { glyph: "✗", word: "failed" },
  cancelled: { glyph: "⊘", word: "cancelled" },
  running: { glyph: "▶", word: "running" },
  waiting: { glyph: "◷", word: "waiting" },
  queued: { glyph: "·", word: "queued" },
};

/** In the order in which they are told: what ended, what is under way, what is still to come. */
export const ORDER = /** @type {State[]} */ (Object.keys(STATES));
export const ENDED = /** @type {State[]} */ (["completed", "failed", "cancelled"]);

/** Sleeps, events and recorded steps stand among runs, and are none: their names begin so. @param {string} task */
export const isWait = (task) => task.startsWith("~");
/** What a wait is for: a promise's name, an event's key; and its scope. @param {{task: string, preview?: string}} run @returns {string[]} */
function told({ task, preview = "" }) {
  const found = isWait(task) ? /^\{"(?:name|key)":("(?:[^"\\]|\\.)*")(?:,"scope":("(?:[^"\\]|\\.)*"))?/.exec(preview) : null;
  try {
    return (found ?? []).slice(1).map((text) => (text ? String(JSON.parse(text)) : ""));
  } catch {
    return [];
  }
}
/** @param {{task: string, preview?: string}} run */
export const waitsFor = (run) => told(run)[0] ?? "";
/** @param {{task: string, preview?: string}} run */
export const scopeOf = (run) => told(run)[1] ?? "";

/** Something went wrong, and it was begun once more; of one that was suspended, or handed back, nobody need know.
 * @param {{attempt: number, retries?: number, deaths?: number}} run */
export const begunAgain = ({ attempt, retries = 0, deaths = 0 }) => attempt > 1 && retries + deaths > 0;

/** @param {string} task */
export const named = (task) => (isWait(task) ? task.slice(1) : task);

/** Of an address, which may say anything. @param {string | null} text @returns {State | null} */
export const asState = (text) => ORDER.find((state) => state === text) ?? null;
/** @param {string} state */
export const hasEnded = (state) => ENDED.includes(/** @type {State} */ (state));
/** @param {Counts | undefined} counts */
export const total = (counts) => ORDER.reduce((sum, state) => sum + (counts?.[state] ?? 0), 0);
/** @param {Counts | undefined} counts */
export const ended = (counts) => ENDED.reduce((sum, state) => sum + (counts?.[state] ?? 0), 0);

/** @param {Counts | undefined} counts @returns {[State, number][]} those that there are */
export const present = (counts) =>
  ORDER.filter((state) => counts?.[state]).map((state) => [state, counts?.[state] ?? 0]);

/** `846,531 done, 8,469 failed`. @param {Counts | undefined} counts */
export const inWords = (counts) =>
  present(counts)
    .map(([state, count]) => `${count.toLocaleString("en")} ${STATES[state].word}`)
    .join(", ");
