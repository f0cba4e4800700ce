// Forms from JSON schemas: what can be asked for in fields, and how the fields become an input.

/** @typedef {{name: string, label: string, type: "text" | "integer" | "number" | "boolean" | "choice" | "json", required: boolean, fallback?: unknown, choices?: unknown[], about?: string}} Field */

/** Follows `$ref` and takes the null out of what may be null. @param {any} schema @param {any} root @returns {any} */
function resolved(schema, root) {
  if (typeof schema?.$ref === "string" && schema.$ref.startsWith("#/")) {
    const found = schema.$ref.slice(2).split("/").reduce((/** @type {any} */ at, /** @type {string} */ key) => at?.[key], root);
    return found ? resolved(found, root) : {};
  }
  const some = (schema?.anyOf ?? schema?.oneOf)?.filter((/** @type {any} */ each) => each.type !== "null");
  return some?.length === 1 ? { ...schema, ...resolved(some[0], root) } : (schema ?? {});
}

/** Null if the input is no object of named fields: then it is asked for as JSON. @param {any} schema @returns {Field[] | null} */
export function fields(schema) {
  const whole = resolved(schema, schema);
  if (!whole.properties || !Object.keys(whole.properties).length) return null;
  return Object.entries(whole.properties).map(([name, given]) => {
    const each = resolved(given, schema);
    const simple = { string: "text", integer: "integer", number: "number", boolean: "boolean" }[each.type];
    return {
      name,
      label: each.title ?? name,
      type: each.enum ? "choice" : (simple ?? "json"),
      required: (whole.required ?? []).includes(name),
      fallback: each.default,
      choices: each.enum,
      about: each.description,
    };
  });
}

/** What a field's text means. @param {Field} field @param {string | boolean} given @returns {unknown} undefined: left out */
export function valueOf(field, given) {
  if (field.type === "boolean") return Boolean(given);
  const text = String(given);
  if (text === "" && !(field.type === "text" && field.fallback === "")) {
    if (field.required) throw new Error(`${field.label} is needed.`);
    return undefined;
  }
  if (field.type === "text") return text;
  if (field.type === "choice") return field.choices?.find((each) => String(each) === text);
  if (field.type === "json") {
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(`${field.label} is no JSON.`);
    }
  }
  const value = Number(text);
  if (!Number.isFinite(value) || (field.type === "integer" && !Number.isInteger(value))) throw new Error(`${field.label} is no ${field.type === "integer" ? "whole number" : "number"}.`);
  return value;
}

/** How a field begins. @param {Field} field @returns {string | boolean} */
export function initial(field) {
  if (field.type === "boolean") return Boolean(field.fallback);
  if (field.fallback === undefined || field.fallback === null) return "";
  return field.type === "json" ? JSON.stringify(field.fallback) : String(field.fallback);
}
