"""Whether JSON fits a schema, as far as that can be said without the task's code. The worker looks again, with types.

Of JSON Schema those words are understood that say of what shape a value is; others are passed over, and so is what is
no schema at all, since code may have made it. Patterns are looked at where nobody looks after that, as far as it can be
told in time (`patterns.py`).
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec

from fanwood.codec.patterns import Steps, fits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEEPEST = 64
MOST = 10
"""Faults that are told."""
STEPS = 100_000
"""Values held against schemas, at most: alternatives of alternatives take for ever."""
PATTERN_STEPS = 100_000
"""In all patterns of one value: some tens of milliseconds."""
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_LIMITS: tuple[tuple[str, str], ...] = (
    ("minimum", "must be at least"),
    ("maximum", "must be at most"),
    ("exclusiveMinimum", "must be above"),
    ("exclusiveMaximum", "must be below"),
)
_LENGTHS: tuple[tuple[type, str, str, str], ...] = (
    (str, "minLength", "maxLength", "characters"),
    (list, "minItems", "maxItems", "items"),
    (dict, "minProperties", "maxProperties", "fields"),
)

_FORMATS: dict[str, tuple[type, str]] = {
    "date-time": (datetime, "a date and time, such as 2026-01-31T12:00:00Z"),
    "date": (date, "a date, such as 2026-01-31"),
    "time": (time, "a time, such as 12:00:00"),
    "duration": (timedelta, "a duration, such as PT1H30M"),
    "decimal": (Decimal, "a number as text, such as 0.25"),
    "base64": (bytes, "bytes in base64"),
    **dict.fromkeys(("uuid", "uuid1", "uuid3", "uuid4", "uuid5"), (UUID, "a UUID")),
}
"""What a text is that has a type in Python."""

Json = dict[str, Any]


def faults(value: object, schema: object, root: str = "input", *, formats: bool = False) -> list[str]:
    """What is wrong, each with its place; the first few. `formats`: also what is no date, though it is to be one, or
    has not the pattern: for who is the last to look. (Models take more than one way of writing it.)"""
    if not isinstance(schema, dict):
        return []
    found: list[str] = []
    for fault in _Check(cast("Json", schema), formats=formats).of(value, cast("Json", schema), root, 0):
        found.append(fault)
        if len(found) == MOST:
            break
    return found


class _Check:
    def __init__(self, whole: Json, *, formats: bool) -> None:
        self._whole = whole
        self._formats = formats
        self._left = STEPS
        self._steps = Steps(PATTERN_STEPS)

    def of(self, value: Any, schema: Any, place: str, depth: int) -> Iterator[str]:
        """What is wrong with a value."""
        if schema is False:
            yield f"{place}: nothing may stand here"
        self._left -= 1
        if not isinstance(schema, dict) or depth > DEEPEST or self._left < 0:
            return
        node = cast("Json", schema)
        if "$ref" in node:
            yield from self.of(value, self._referred(node["$ref"]), place, depth + 1)
        yield from _kind(value, node, place)
        yield from _limits(value, node, place)
        if self._formats and isinstance(value, str):
            yield from _format(value, node, place)
            yield from _pattern(value, node, place, self._steps)
        if isinstance(value, dict):
            yield from self._fields(cast("Json", value), node, place, depth)
        if isinstance(value, list):
            yield from self._items(cast("list[Any]", value), node, place, depth)
        yield from self._choices(value, node, place, depth)

    def _referred(self, reference: Any) -> Any:
        """What is meant by "#/$defs/Name"; of anything else nothing is known."""
        found: Any = self._whole
        if not isinstance(reference, str) or not reference.startswith("#"):
            return True
        for name in reference.removeprefix("#").split("/")[1:]:
            if not isinstance(found, dict):
                return True
            found = cast("Json", found).get(name.replace("~1", "/").replace("~0", "~"), True)
        return found

    def _fields(self, value: Json, node: Json, place: str, depth: int) -> Iterator[str]:
        known = _named(node, "properties")
        for name in _listed(node, "required"):
            if isinstance(name, str) and name not in value:
                yield f"{place}.{name}: is missing"
        others = True if "patternProperties" in node else node.get("additionalProperties", True)
        for name, field in value.items():
            if name in known:
                yield from self.of(field, known[name], f"{place}.{name}", depth + 1)
            elif others is False:
                yield f"{place}.{name[:100]}: there is no such field"
            elif others is not True:
                yield from self.of(field, others, f"{place}.{name[:100]}", depth + 1)

    def _items(self, value: list[Any], node: Json, place: str, depth: int) -> Iterator[str]:
        first = _listed(node, "prefixItems")
        for number, item in enumerate(value):
            schema = first[number] if number < len(first) else node.get("items", True)
            yield from self.of(item, schema, f"{place}[{number}]", depth + 1)

    def _choices(self, value: Any, node: Json, place: str, depth: int) -> Iterator[str]:
        for part in _listed(node, "allOf"):
            yield from self.of(value, part, place, depth + 1)
        for word in ("anyOf", "oneOf"):
            told = [list(self.of(value, part, place, depth + 1)) for part in _listed(node, word)]
            if told and all(told) and self._left >= 0:
                yield from _closest(told, place)


def _kind(value: Any, node: Json, place: str) -> Iterator[str]:
    names = [name for name in (_listed(node, "type") or [node.get("type")]) if isinstance(name, str)]
    if names and not any(_is(value, name) for name in names):
        yield f"{place}: must be {' or '.join(names)}"
    if "const" in node and not _equal(value, node["const"]):
        yield f"{place}: must be {node['const']!r}"
    choices = _listed(node, "enum")
    if choices and not any(_equal(value, each) for each in choices):
        yield f"{place}: must be one of {', '.join(map(repr, choices[:10]))}"


def _format(value: str, node: Json, place: str) -> Iterator[str]:
    name = node.get("contentEncoding", node.get("format"))
    if not isinstance(name, str) or name not in _FORMATS:
        return
    kind, what = _FORMATS[name]
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        yield f"{place}: must be {what}"


def _pattern(value: str, node: Json, place: str, steps: Steps) -> Iterator[str]:
    pattern = node.get("pattern")
    if isinstance(pattern, str) and fits(pattern, value, steps) is False:
        yield f"{place}: must match the pattern {pattern[:100]!r}"


def _listed(node: Json, word: str) -> list[Any]:
    found = node.get(word)
    return cast("list[Any]", found) if isinstance(found, list) else []


def _named(node: Json, word: str) -> Json:
    found = node.get(word)
    return cast("Json", found) if isinstance(found, dict) else {}


def _is(value: Any, name: str) -> bool:
    kinds = _TYPES.get(name)
    if kinds is None:
        return True
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, kinds) and (name != "integer" or value == int(value))


def _equal(value: Any, other: Any) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _limits(value: Any, node: Json, place: str) -> Iterator[str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        for word, must in _LIMITS:
            limit = node.get(word)
            if isinstance(limit, int | float) and not _holds(word, value, limit):
                yield f"{place}: {must} {limit}"
    for kind, least, most, what in _LENGTHS:
        if isinstance(value, kind):
            size = len(cast("str", value))
            if isinstance(few := node.get(least), int | float) and size < few:
                yield f"{place}: must have at least {few} {what}"
            if isinstance(many := node.get(most), int | float) and size > many:
                yield f"{place}: must have at most {many} {what}"


def _holds(word: str, value: float, limit: float) -> bool:
    return {
        "minimum": value >= limit,
        "maximum": value <= limit,
        "exclusiveMinimum": value > limit,
        "exclusiveMaximum": value < limit,
    }[word]


def _closest(told: list[list[str]], place: str) -> Iterable[str]:
    """Of alternatives which all don't fit, what is wrong with the one that was meant, if that can be told: its kind is
    the value's, and so is its tag (a field that may be one text only)."""
    of_kind = [faults for faults in told if not any(_kinds_of(fault, place) for fault in faults)]
    if meant := [faults for faults in of_kind if not any(_is_of_tag(fault, place) for fault in faults)]:
        return min(meant, key=len)
    kinds = dict.fromkeys(kind for faults in told for fault in faults for kind in _kinds_of(fault, place))
    if len(told) < 3 and not of_kind:
        return (f"{place}: must be {' or '.join(kind for kind in kinds if kind != 'null' or len(kinds) == 1)}",)
    return min(of_kind, key=len) if len(told) < 3 else (f"{place}: fits none of what may stand here",)


def _kinds_of(fault: str, place: str) -> list[str]:
    """Of which kinds it had to be, if it is that."""
    kinds = fault.removeprefix(f"{place}: must be ").split(" or ") if fault.startswith(f"{place}: must be ") else []
    return kinds if all(kind in _TYPES for kind in kinds) else []


def _is_of_tag(fault: str, place: str) -> bool:
    where, _, what = fault.partition(": must be ")
    return where.startswith(f"{place}.") and what[:1] in {"'", '"'}
