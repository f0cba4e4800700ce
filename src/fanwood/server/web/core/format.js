// Values as people read them: the same words and units as the command line. Times are microseconds.

const DAY = 86_400;

/** `1,000,001` @param {number | undefined} value */
export const count = (value) => (value ?? 0).toLocaleString("en");

/** An exact amount, as a text: `1,000,000.25` @param {string | undefined} text */
export const amount = (text) => (text || "0").replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));

/** At most four signs: `940k`, `1.2M`. @param {number} value */
export function short(value) {
  if (value < 10_000) return count(value);
  const [size, unit] = value < 999_500 ? [1e3, "k"] : value < 999_500_000 ? [1e6, "M"] : [1e9, "G"];
  const scaled = value / size;
  return `${scaled < 9.95 ? scaled.toFixed(1) : Math.round(scaled)}${unit}`;
}

/** `1 run`, `1,000 runs` @param {number} value @param {string} one @param {string} [several] */
export const many = (value, one, several) => `${count(value)} ${value === 1 ? one : (several ?? `${one}s`)}`;

/** `850 us`, `12 ms`, `3.2 s`, `4m 05s`, `2h 10m` @param {number | null | undefined} us */
export function took(us) {
  if (us === null || us === undefined) return "";
  if (us < 1000) return `${Math.max(0, Math.round(us))} µs`;
  if (us < 1e6) return us < 9950 ? `${(us / 1000).toFixed(1)} ms` : `${Math.round(us / 1000)} ms`;
  if (us < 60e6) return `${(us / 1e6).toFixed(1)} s`;
  const whole = Math.floor(us / 1e6);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  if (whole < DAY) return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / DAY)}d ${two(Math.floor((whole % DAY) / 3600))}h`;
}

/** In one unit: `12s`, `4m`, `2h`, `3d` @param {number} us */
export function age(us) {
  const whole = Math.floor(Math.max(0, us) / 1e6);
  if (whole < 100) return `${whole}s`;
  if (whole < 6000) return `${Math.floor(whole / 60)}m`;
  if (whole < 2 * DAY) return `${Math.floor(whole / 3600)}h`;
  return `${count(Math.floor(whole / DAY))}d`;
}

/** `in 12-15 s`, of two numbers of seconds. @param {[number, number]} range */
export function range([low, high]) {
  if (high < 90) {
    const [from, to] = [Math.ceil(low), Math.ceil(high)];
    return from === to ? `${to} s` : `${from}–${to} s`;
  }
  const unit = high < 5400 ? 60 : high < 2 * DAY ? 3600 : DAY;
  const name = { 60: "min", 3600: "h", [DAY]: "d" }[unit];
  const [from, to] = [low / unit, high / unit].map((value) => (value < 10 ? Math.round(value * 10) / 10 : Math.round(value)));
  return from === to ? `${to} ${name}` : `${from}–${to} ${name}`;
}

/** `3,920/s` @param {number} perSecond */
export const rate = (perSecond) =>
  perSecond > 0 && perSecond < 0.1 ? `${Math.max(1, Math.round(perSecond * 3600)).toString()}/h` : `${perSecond >= 10 ? count(Math.round(perSecond)) : (Math.round(perSecond * 10) / 10).toString()}/s`;

/** `812 B`, `1.4 MB` @param {number} bytes */
export function size(bytes) {
  let value = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 999.95) return unit === "B" ? `${value} B` : `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
/** `14:03:22` @param {number} us @param {boolean} [fine] with milliseconds */
export function clock(us, fine = false) {
  const at = new Date(us / 1000);
  const text = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return fine ? `${text}.${String(at.getMilliseconds()).padStart(3, "0")}` : text;
}

/** `2026-11-26` @param {number} us */
export function date(us) {
  const at = new Date(us / 1000);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** With the date unless it is today's. @param {number} us @param {number} now @param {boolean} [fine] */
export const when = (us, now, fine = false) => (date(us) === date(now) ? clock(us, fine) : `${date(us)} ${clock(us, fine)}`);
/** @param {number | undefined | null} us */
export const stamp = (us) => (us ? `${date(us)} ${clock(us, true)}` : "");

/** The tail of an id, as lists show it. @param {string} id */
export const shortId = (id) => id.replaceAll("-", "").slice(-8);

/** Of 1: `94 %`, `0.9 %`; never 100 before it is. @param {number} part */
export function percent(part) {
  if (part > 0 && part < 0.001) return "< 0.1 %";
  if (part >= 1 || part === 0) return `${Math.round(part * 100)} %`;
  return part < 0.0995 || part > 0.99 ? `${(Math.floor(part * 1000) / 10).toString()} %` : `${Math.floor(part * 100)} %`;
}

/** Microseconds now, by this machine. */
export const now = () => Date.now() * 1000;
