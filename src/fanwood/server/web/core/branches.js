// The tree as rows: what is open, what of it is known, and what comes below what.
// More than 20 siblings of one task are a group; a group opens into states, a state into pages of 100.

import { get, query } from "./api.js";
import { signal } from "./html.js";
import { ended, hasEnded, isWait, present, total } from "./states.js";

const PAGE = 100;
const LOOKS = 5;
const AGAIN = [1, 2, 4, 8, 16]; // seconds after which a family that was not counted to its end is asked for again

/**
 * @typedef {object} Row
 * @property {string} key
 * @property {"run" | "group" | "state" | "more" | "loading" | "error" | "none"} type
 * @property {number} level from 1
 * @property {boolean} [opens]
 * @property {boolean} [open]
 * @property {any} [run]
 * @property {any} [family]
 * @property {string} [state]
 * @property {number} [count]
 * @property {import("./states.js").Counts} [below]
 * @property {number} [waits] waits and recorded steps below it
 * @property {boolean} [some] of `below` and `waits` no more were counted than a segment has
 * @property {boolean} [more] there are more than `count`
 * @property {string} [parent] the id of the run above
 * @property {string} [text]
 * @property {number} [place] among its siblings, from 1
 * @property {number} [siblings]
 */

/** What may narrow the list. A kind of failure makes it flat: what failed so, anywhere below, `count` in all.
 * So does what is said of places in the tree or of times (`flat`: a query).
 * @typedef {{task?: string | null, state?: string | null, cluster?: string | null, flat?: string, count?: number}} Narrow */

/** Below what has ended there may be children that go on. @param {any} view */
const hasSettled = (view) =>
  (view.runs ?? []).every((/** @type {any} */ run) => hasEnded(run.state)) &&
  [...(view.families ?? []).map((/** @type {any} */ family) => family.counts), ...Object.values(view.parents ?? {})].every((counts) => ended(counts) === total(counts));

/** Of a group, or of a state of it. Names of tasks come last, as they may have any sign in them. @param {string} id @param {string} task @param {string} [state] */
export const keyOf = (id, task, state = "") => `${id}|${state}|${task}`;

export class Branches {
  /** @param {string} root @param {Narrow} [narrow] @param {boolean} [bare] without a row for the root itself */
  constructor(root, narrow = {}, bare = false) {
    this.root = root;
    this.bare = bare;
    this.narrow = narrow;
    /** Changes with everything that is drawn. */
    this.version = signal(0);
    /** @type {Set<string>} */
    this.opened = new Set([root]);
    /** @type {Map<string, any>} children of runs by id: a ChildrenView, or an error */
    this.children = new Map();
    /** @type {Map<string, {runs: any[], after: string | null, error?: Error, busy?: boolean}>} */
    this.pages = new Map();
  }

  /** Whether it is a list of what fits, wherever that is. */
  get isFlat() {
    return Boolean(this.narrow.cluster || this.narrow.flat);
  }

  get flatKey() {
    return keyOf(this.root, this.narrow.task ?? "", this.narrow.cluster ? "failed" : "any");
  }

  /** @param {string} key */
  toggle(key, open = !this.opened.has(key)) {
    if (open) this.opened.add(key);
    else {
      this.opened.delete(key);
      this.pages.delete(key); // opened again, it is asked for again
    }
    if (open) void this.need(key);
    this.changed();
  }

  changed() {
    this.version.value += 1;
  }

  /** @param {string} key of a run, or of a state of a group */
  async need(key) {
    if (key.includes("|")) {
      if (key.split("|")[1] && !this.pages.has(key)) await this.more(key);
    } else if (!this.children.has(key)) await this.load(key);
  }

  /** @param {string} id @param {number} [look] how often it was asked for before */
  async load(id, look = 0) {
    try {
      const view = await get(`/runs/${id}/children`);
      this.children.delete(id);
      this.children.set(id, view); // as the last: of many that may have changed each has its turn
      // Its tree is still being read, since somebody looks at it.
      if (!this.bare && look < AGAIN.length && view.families?.some((family) => family.more)) setTimeout(() => this.opened.has(id) && this.load(id, look + 1), AGAIN[look] * 1000);
    } catch (error) {
      if (!this.children.get(id)?.parent) this.children.set(id, { error });
    }
    this.changed();
  }

  /** The next page of a state of a group. @param {string} key */
  async more(key) {
    const [id, state, ...name] = key.split("|");
    const task = name.join("|");
    const page = this.pages.get(key) ?? { runs: [], after: null };
    if (page.busy) return;
    this.pages.set(key, { ...page, busy: true });
    this.changed();
    try {
      const { cluster, flat } = this.narrow;
      let { after } = page;
      const runs = [...page.runs];
      // A page may be short, or empty, and not be the last: what is looked through at a time is bounded.
      for (let look = 0; look < LOOKS && runs.length < page.runs.length + PAGE; look += 1) {
        const asked = { task, state: cluster ? null : state, cluster, after, limit: PAGE };
        const found = await get(flat && id === this.root ? `/trees/${id}/members?${flat}${query({ after, limit: PAGE }).replace("?", "&")}` : `/runs/${id}/members${query(asked)}`);
        runs.push(...(found.runs ?? []));
        after = found.after ?? null;
        if (!after) break;
      }
      this.pages.set(key, { runs, after });
    } catch (error) {
      this.pages.set(key, { ...page, busy: false, error });
    }
    this.changed();
  }

  /** What is open and may have changed is asked for again. */
  async refresh() {
    if (this.isFlat) return;
    const stale = [...this.children].filter(([id, view]) => this.opened.has(id) && !(view.parent && hasEnded(view.parent.state) && hasSettled(view)));
    for (const [id] of stale.slice(0, 8)) await this.load(id);
  }

  /** @returns {Row[]} */
  rows() {
    const view = this.children.get(this.root);
    if (!view) return [{ key: "loading", type: "loading", level: 1 }];
    if (view.error) return [{ key: "error", type: "error", level: 1, text: view.error.message }];
    /** @type {Row[]} */
    const rows = [];
    if (this.isFlat) return this.addMembers(rows, this.flatKey, this.narrow.count ?? 0, 1), rows;
    if (this.bare) return this.addChildren(rows, this.root, 1), rows;
    this.addRun(rows, view.parent, counted(view), 1, 1, 1);
    return rows;
  }

  /** @param {Row[]} rows @param {any} run @param {Below | undefined} has @param {number} level @param {number} place @param {number} siblings */
  addRun(rows, run, has, level, place, siblings) {
    const opens = Boolean(has && (total(has.below) || has.waits));
    const open = opens && this.opened.has(run.id);
    rows.push({ key: run.id, type: "run", level, run, ...has, opens, open, place, siblings, parent: run.parent_id });
    if (open) this.addChildren(rows, run.id, level + 1);
  }

  /** @param {Row[]} rows @param {string} id @param {number} level */
  addChildren(rows, id, level) {
    const view = this.children.get(id);
    if (!view) return void rows.push({ key: `${id}|loading`, type: "loading", level });
    if (view.error) return void rows.push({ key: `${id}|error`, type: "error", level, text: view.error.message });
    const families = (view.families ?? []).filter((family) => this.fits(family.task, family.counts));
    const runs = (view.runs ?? []).filter((run) => this.fits(run.task, { [run.state]: 1 }) || total(view.parents?.[run.id]) || view.waits?.[run.id]);
    const siblings = families.length + runs.length;
    families.forEach((family, at) => this.addGroup(rows, id, family, level, at + 1, siblings));
    runs.forEach((run, at) => this.addRun(rows, run, this.below(run) ?? { below: view.parents?.[run.id], waits: view.waits?.[run.id], some: true }, level, families.length + at + 1, siblings));
    if (!siblings) rows.push({ key: `${id}|none`, type: "none", level, text: "Nothing below it fits the filter" });
  }

  /** @param {string} task @param {import("./states.js").Counts} counts */
  fits(task, counts) {
    const { task: wanted, state } = this.narrow;
    return (!wanted || wanted === task) && (!state || Boolean(counts[state]));
  }

  /** @param {Row[]} rows @param {string} id @param {any} family @param {number} level @param {number} place @param {number} siblings */
  addGroup(rows, id, family, level, place, siblings) {
    const key = keyOf(id, family.task);
    const open = this.opened.has(key);
    rows.push({ key, type: "group", level, family, opens: true, open, parent: id, place, siblings });
    if (!open) return;
    const wanted = this.narrow.state;
    const states = present(family.counts).filter(([state]) => !wanted || wanted === state);
    states.forEach(([state, count], at) => this.addState(rows, key, keyOf(id, family.task, state), state, count, level + 1, at + 1, states.length, family.more));
  }

  /** @param {Row[]} rows @param {string} group @param {string} key @param {string} state @param {number} count @param {number} level @param {number} place @param {number} siblings @param {boolean} [more] */
  addState(rows, group, key, state, count, level, place, siblings, more) {
    const open = this.opened.has(key);
    rows.push({ key, type: "state", level, state, count, more, opens: true, open, place, siblings, parent: group });
    if (open) this.addMembers(rows, key, count, level + 1);
  }

  /** What is known of a state of a group; or of a kind of failure, in the whole tree. @param {Row[]} rows @param {string} key @param {number} count @param {number} level */
  addMembers(rows, key, count, level) {
    const page = this.pages.get(key);
    page?.runs.forEach((run, at) => this.addRun(rows, run, this.below(run), level, at + 1, count));
    if (page?.error) rows.push({ key: `${key}|error`, type: "error", level, text: page.error.message });
    else if (!page || page.busy) rows.push({ key: `${key}|loading`, type: "loading", level });
    else if (page.after) rows.push({ key: `${key}|more`, type: "more", level, parent: key, count: Math.max(0, count - page.runs.length) });
  }

  /** A member of a page may have children, which is not known before it is opened. @param {any} run */
  below(run) {
    const view = this.children.get(run.id);
    return view && !view.error ? counted(view) : undefined;
  }
}

/** @typedef {{below?: import("./states.js").Counts, waits?: number, some?: boolean}} Below */

/** What is right below a run. @param {any} view of its children @returns {Below} */
function counted(view) {
  const [families, runs] = [view.families ?? [], view.runs ?? []];
  const waits = sum([...families.filter((each) => isWait(each.task)).map((each) => each.counts), ...runs.filter((each) => isWait(each.task)).map((each) => ({ [each.state]: 1 }))]);
  const below = sum([...families.filter((each) => !isWait(each.task)).map((each) => each.counts), ...runs.filter((each) => !isWait(each.task)).map((each) => ({ [each.state]: 1 }))]);
  return { below, waits: total(waits), some: families.some((each) => each.more) };
}

/** @param {import("./states.js").Counts[]} all */
export function sum(all) {
  /** @type {Record<string, number>} */
  const found = {};
  for (const counts of all) for (const [state, count] of Object.entries(counts)) found[state] = (found[state] ?? 0) + count;
  return found;
}
