// A picture made newer: what the stream's `delta` says, applied. Null takes away, numbers are places of a list.

/** @param {any} old @param {any} change @returns {any} */
export function patched(old, change) {
  if (Array.isArray(old) && isObject(change)) return list(old, change);
  if (!isObject(old) || !isObject(change)) return change;
  const found = { ...old };
  for (const [name, value] of Object.entries(change)) {
    if (value === null) delete found[name];
    else found[name] = Object.hasOwn(found, name) ? patched(found[name], value) : value;
  }
  return found;
}

/** @param {any} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** @param {any[]} old @param {Record<string, any>} change */
function list(old, change) {
  const found = old.slice(0, change.length ?? old.length);
  for (const [place, value] of Object.entries(change)) {
    if (place === "length") continue;
    const at = Number(place);
    found[at] = at < found.length ? patched(found[at], value) : value;
  }
  return found;
}
