// Forms from JSON schemas: what can be asked for in fields, and how the fields become JSON. A value is never read as a number here:
// what is typed is sent as it was typed, since 9007199254740993 or 1.0 would become something else.

/** @typedef {"text" | "integer" | "number" | "boolean" | "choice" | "json"} Kind */
/** @typedef {{name: string, label: string, type: Kind, required: boolean, isNull: boolean, fallback?: any, choices?: [string, string][], about: string, lines: boolean, sketch: string, form?: [RegExp, string]}} Field */

const DEEPEST = 16;
const LONGEST = 600;
/** @type {Record<string, Kind>} */
const KINDS = { string: "text", integer: "integer", number: "number", boolean: "boolean" };
/** What a text must look like, as far as all who read it agree. @type {Record<string, [RegExp, string]>} */
const FORMS = {
  date: [/^\d{4}-\d\d-\d\d$/, "2026-01-31"],
  time: [/^\d\d:\d\d/, "09:30:00"],
  "date-time": [/^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d/, "2026-01-31T09:30:00Z"],
  duration: [/./, "PT1H30M"],
  decimal: [/./, "0.25"],
  uuid: [/^[\da-f]{8}-?([\da-f]{4}-?){3}[\da-f]{12}$/i, "123e4567-e89b-12d3-a456-426614174000"],
};
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

/** @param {any} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Follows `$ref`, and alternatives of which all but one are null; those are told by `isNull`. @param {any} schema @param {any} root @param {number} [depth] @returns {any} */
function resolved(schema, root, depth = 0) {
  if (!isObject(schema) || depth > DEEPEST) return {};
  const { $ref, anyOf, oneOf, allOf, ...rest } = schema;
  if (typeof $ref === "string" && $ref.startsWith("#")) {
    const keys = $ref.split("/").slice(1).map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
    return { ...resolved(keys.reduce((at, key) => (isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined), root), root, depth + 1), ...rest };
  }
  if (Array.isArray(allOf) && allOf.length === 1) return { ...resolved(allOf[0], root, depth + 1), ...rest };
  const all = anyOf ?? oneOf;
  if (Array.isArray(all)) {
    const some = all.filter((each) => each?.type !== "null");
    const isNull = some.length < all.length;
    if (some.length === 1) return { ...resolved(some[0], root, depth + 1), ...rest, ...(isNull && { isNull }) };
    const listed = some.map((each) => resolved(each, root, depth + 1)).map((each) => each.enum ?? ("const" in each ? [each.const] : null));
    return { ...rest, isNull, some, ...(listed.length && listed.every(Array.isArray) && { enum: listed.flat() }) };
  }
  if (Array.isArray(rest.type) && rest.type.length) {
    const some = rest.type.filter((/** @type {any} */ each) => each !== "null");
    return { ...rest, type: some.length === 1 ? some[0] : undefined, isNull: some.length < rest.type.length };
  }
  return rest;
}

/** What a value looks like, to begin with. @param {any} schema @param {any} root @param {number} [depth] @returns {any} */
function sketched(schema, root, depth = 0) {
  const each = resolved(schema, root);
  if (each.default !== undefined && each.default !== null) return each.default;
  if (Array.isArray(each.enum)) return each.enum[0];
  if ("const" in each) return each.const;
  if (each.some) return sketched(each.some[0], root, depth + 1);
  if (isObject(each.properties) && depth < 2) return Object.fromEntries(Object.entries(each.properties).slice(0, 12).map(([name, one]) => [name, sketched(one, root, depth + 1)]));
  if (each.type === "array") return each.items && depth < 3 ? [sketched(each.items, root, depth + 1)] : [];
  return { string: "", integer: 0, number: 0, boolean: false, object: {} }[String(each.type)] ?? null;
}

/** @param {unknown} value @param {string} other */
const said = (value, other) => (typeof value === "string" && value ? (value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value) : other);

/** What is told of a field below it. @param {any} each @param {Kind} type @param {boolean} required */
function about(each, type, required) {
  const least = each.minimum ?? each.exclusiveMinimum ?? each.minLength;
  const most = each.maximum ?? each.exclusiveMaximum ?? each.maxLength;
  const unit = type === "text" ? " characters" : "";
  const parts = [
    type === "json" ? "JSON" : type === "text" && FORMS[each.format] ? each.format : type,
    !required && "may be left out",
    required && each.isNull && "empty: null",
    least !== undefined && most !== undefined ? `${least} to ${most}${unit}` : least !== undefined ? `at least ${least}${unit}` : most !== undefined && `at most ${most}${unit}`,
    typeof each.pattern === "string" && `as ${said(each.pattern, "")}`,
    type === "text" && FORMS[each.format] && `such as ${FORMS[each.format][1]}`,
  ];
  return `${parts.filter(Boolean).join(", ")}${each.description ? `. ${said(each.description, "")}` : ""}`;
}

/** @param {string} name @param {any} given @param {any} root @param {boolean} required @returns {Field} */
function field(name, given, root, required) {
  const each = resolved(given, root);
  const listed = Array.isArray(each.enum) ? each.enum : "const" in each ? [each.const] : null;
  const simple = each.some ? undefined : KINDS[String(each.type)];
  // A box that is not ticked says no; where saying nothing is something else, there are three answers.
  const isOpen = simple === "boolean" && (each.isNull || (!required && typeof each.default !== "boolean"));
  const values = listed ?? (isOpen ? [true, false] : null);
  const texts = [...new Set((values ?? []).filter((/** @type {any} */ one) => one !== null).map((/** @type {any} */ one) => JSON.stringify(one)))];
  const type = values ? "choice" : (simple ?? "json");
  const isNull = Boolean(each.isNull || values?.includes(null) || each.type === "null");
  return {
    name,
    label: said(given?.title, name || "(no name)"), // and not that of a type, which several fields may have
    type,
    required,
    isNull,
    fallback: each.default ?? (values?.length === 1 && required ? values[0] : undefined),
    choices: values && texts.map((text) => [text, typeof JSON.parse(text) === "string" && !texts.includes(JSON.parse(text)) ? JSON.parse(text) : text]),
    about: about({ ...each, isNull }, isOpen ? "boolean" : type, required),
    lines: type === "text" && !each.format,
    sketch: type === "json" ? JSON.stringify(sketched(each, root)) : "",
    form: type === "text" && Object.hasOwn(FORMS, each.format) ? FORMS[each.format] : undefined,
  };
}

/** Null if the input is no object of named fields: then it is asked for as JSON. @param {any} schema @returns {Field[] | null} */
export function fields(schema) {
  const whole = resolved(schema, schema);
  if (!isObject(whole.properties) || !Object.keys(whole.properties).length) return null;
  const required = Array.isArray(whole.required) ? whole.required : [];
  return Object.entries(whole.properties).map(([name, given]) => field(name, given, schema, required.includes(name)));
}

/** What is told of a value as a whole: its description; and whether it may be null. @param {any} schema @returns {{about: string, isNull: boolean}} */
export function whole(schema) {
  const { description, isNull = false } = resolved(schema, schema);
  return { about: said(description, ""), isNull };
}

/** What a field's text means, as JSON. @param {Field} field @param {string | boolean} given @returns {string | undefined} undefined: left out */
export function valueOf(field, given) {
  if (field.type === "boolean") return String(Boolean(given));
  const text = String(given);
  // A text that has a default is what stands there, even if that is nothing.
  if (text === "" && !(field.type === "text" && typeof field.fallback === "string")) {
    if (field.required && field.isNull) return "null";
    if (field.required) throw new Error(`${field.label} is needed.`);
    return undefined;
  }
  if (field.type === "text") {
    if (text && field.form && !field.form[0].test(text)) throw new Error(`${field.label} must be like ${field.form[1]}.`);
    return JSON.stringify(text);
  }
  if (field.type === "choice") return text;
  const typed = text.trim();
  if (field.type === "json") {
    try {
      JSON.parse(typed);
      return typed;
    } catch {
      throw new Error(`${field.label} is no JSON.`);
    }
  }
  const value = Number(typed);
  const isWhole = field.type === "integer";
  if (!/^[-+.\d]/.test(typed) || /^[-+]?0[xob]/i.test(typed) || !Number.isFinite(value) || (isWhole && !Number.isInteger(value))) throw new Error(`${field.label} is no ${isWhole ? "whole number" : "number"}.`);
  if (isWhole ? /^-?(0|[1-9]\d*)$/.test(typed) : JSON_NUMBER.test(typed)) return typed;
  return String(value);
}

/** How a field begins, or what a value looks like in it. @param {Field} field @param {any} [value] @returns {string | boolean} */
export function initial(field, value = field.fallback) {
  if (field.type === "boolean") return Boolean(value);
  if (value === undefined || value === null) return "";
  return field.type === "text" && typeof value === "string" ? value : JSON.stringify(value);
}

/** What all fields say, as one text of JSON; and what is wrong with them. @param {Field[]} form @param {Record<string, any>} values
 * @returns {{text: string, wrong: Record<string, string>}} */
export function written(form, values) {
  /** @type {Record<string, string>} */
  const wrong = Object.create(null);
  const parts = [];
  for (const each of form)
    try {
      const value = valueOf(each, values[each.name]);
      if (value !== undefined) parts.push(`  ${JSON.stringify(each.name)}: ${value}`);
    } catch (error) {
      wrong[each.name] = error.message;
    }
  return { text: parts.length ? `{\n${parts.join(",\n")}\n}` : "{}", wrong };
}

/** The other way round; null if the form has no place for some of it. @param {Field[]} form @param {string} text @returns {Record<string, any> | null} */
export function read(form, text) {
  const raw = /** @type {any} */ (JSON).rawJSON;
  const given = JSON.parse(text, /** @type {any} */ ((/** @type {string} */ _, /** @type {any} */ value, /** @type {any} */ at) => (typeof value === "number" && raw && at?.source ? raw(at.source) : value)));
  if (!isObject(given)) return null;
  const known = new Map(form.map((each) => [each.name, each]));
  const values = Object.fromEntries(form.map((each) => [each.name, each.type === "boolean" || each.type === "text" ? initial(each) : ""]));
  for (const [name, value] of Object.entries(given)) {
    const each = known.get(name);
    if (!each) return null;
    values[name] = initial(each, value);
    try {
      if ((valueOf(each, values[name]) ?? "null") !== JSON.stringify(value)) return null;
    } catch {
      // it has a place, and is told to be wrong there
    }
  }
  return values;
}

/** Which faults that the server tells ("input.size: must be ...") are of which field; and the others. @param {Field[]} form @param {unknown} errors
 * @param {string} before what stands before a field's name @returns {{wrong: Record<string, string>, rest: string[]}} */
export function placed(form, errors, before) {
  /** @type {Record<string, string>} */
  const wrong = Object.create(null);
  const rest = [];
  const names = form.map(({ name }) => name).toSorted((one, other) => other.length - one.length);
  for (const fault of Array.isArray(errors) ? errors.map(String) : []) {
    const name = names.find((each) => fault.startsWith(before + each) && /^[.:[]/.test(fault.slice(before.length + each.length)));
    if (name === undefined) rest.push(fault);
    else {
      const said = fault.slice(before.length + name.length);
      wrong[name] ??= said.startsWith(": ") ? said.slice(2) : name + said;
    }
  }
  return { wrong, rest };
}
