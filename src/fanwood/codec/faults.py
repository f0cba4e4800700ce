"""A walk through a value, or through its text, for what JSON can't hold: what would be lost, changed, or too deep."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import deque
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, cast, get_origin
from uuid import UUID

from fanwood.codec.empty import is_open
from fanwood.codec.shapes import (
    SCALARS,
    arms,
    child,
    class_name,
    class_of,
    has_own_schema,
    is_declared,
    is_sparse,
    is_typed_dict,
    item_of,
    layouts,
    members,
    members_as,
    parts,
)

MAX_DEPTH = 200
TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels"

_LEAVES = (int, Enum, date, time, timedelta, UUID)
_BYTES = (bytes, bytearray, memoryview)


class FaultError(Exception):
    """A part of a value has no JSON form; the steps towards it are collected on the way out. Stays in this package."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[object] = []


@dataclasses.dataclass
class Trail:
    """The containers around the place that is looked at, and whether any has more than one way to be written."""

    ids: set[int] = dataclasses.field(default_factory=set[int])
    unordered: bool = False


def no_form(value: object) -> str:
    return (
        f"an object of type {class_name(type(value))} has no JSON form; use str, int, float, bool, None, list, dict, "
        f"a dataclass, TypedDict, msgspec Struct or pydantic model"
    )


# --- the short way -------------------------------------------------------------------------------------------------


def is_plain(value: object, depth: int = 1) -> bool:
    """The common case, quickly: nothing but JSON's own types all the way down."""
    items: Any
    if type(value) is dict:
        items = cast("dict[object, object]", value).values()
        for key in cast("dict[object, object]", value):
            if type(key) is not str:
                return False
    elif type(value) is list:
        items = cast("list[object]", value)
    else:
        return type(value) in SCALARS or (type(value) is float and math.isfinite(value))
    if depth > MAX_DEPTH:
        return False
    for item in items:  # noqa: SIM110  (a generator costs twice as much)
        if type(item) not in SCALARS and not is_plain(item, depth + 1):
            return False
    return True


# --- the careful way -----------------------------------------------------------------------------------------------


def check(value: Any, hint: Any, trail: Trail) -> None:
    """Raise a `FaultError` for the first part that would be lost or changed."""
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value)
    elif isinstance(value, (float, Decimal)):
        if value.is_nan() if isinstance(value, Decimal) else not math.isfinite(value):
            raise FaultError(f"{value} has no JSON form; use None or text")
    elif value is None or isinstance(value, _LEAVES):
        return
    elif isinstance(value, _BYTES):
        if not any(parts(hint, base) for base in _BYTES):
            raise FaultError(
                f"{class_of(cast('object', value)).__name__} have no JSON form; encode them as text, e.g. base64"
            )
    elif id(value) in trail.ids:
        raise FaultError("it refers to itself")
    elif len(trail.ids) >= MAX_DEPTH:
        raise FaultError(TOO_DEEP)
    else:
        trail.ids.add(id(value))
        for step, item, item_hint in walk(value, hint, trail):
            try:
                check(item, item_hint, trail)
            except FaultError as fault:
                fault.steps.insert(0, step)
                raise
        trail.ids.discard(id(value))


def walk(value: Any, hint: Any, trail: Trail) -> Iterator[tuple[object, Any, Any]]:
    """The parts of a container as (step, part, the part's annotation)."""
    if isinstance(value, dict):
        yield from _walk_dict(cast("dict[object, object]", value), hint, trail)
    elif isinstance(value, (list, tuple, deque)):
        sequence = cast("list[object]", value)
        options = layouts(class_of(sequence), hint)
        for index, item in enumerate(sequence):
            yield index, item, item_of(options, index, len(sequence))
    elif isinstance(value, (set, frozenset)):
        trail.unordered = True
        options = parts(hint, AbstractSet)
        if not options:
            raise FaultError(
                f"a {class_of(cast('object', value)).__name__} would come back as a list; pass a sorted list"
            )
        for index, item in enumerate(cast("set[object]", value)):
            yield index, item, child(options, 0)
    elif members(class_of(value)) is not None:
        yield from _walk_fields(value, hint, trail)
    elif not is_declared(value, hint) and not has_own_schema(hint):
        raise FaultError(no_form(value))


def _walk_fields(value: Any, hint: Any, trail: Trail) -> Iterator[tuple[object, Any, Any]]:
    cls = class_of(value)
    trail.unordered = trail.unordered or is_sparse(cls)
    for member in members_as(cls, hint):
        if hasattr(value, member.name):
            yield member.name, getattr(value, member.name), member.hint
    for name, item in extras(value).items():
        yield name, item, Any


def extras(value: object) -> dict[str, Any]:
    """What an object holds that its class has no field for."""
    if is_open(class_of(value)):
        return value.__dict__
    return getattr(value, "__pydantic_extra__", None) or {}


def _walk_dict(value: dict[object, object], hint: Any, trail: Trail) -> Iterator[tuple[object, Any, Any]]:
    shapes = [members(arm) or () for arm in arms(hint) if is_typed_dict(get_origin(arm) or arm)]
    hints = {member.key: member.hint for shape in shapes for member in shape}
    options = parts(hint, Mapping)
    options = [args for args in options if args] or options
    key_hint, item_hint = child(options, 0), child(options, 1)
    for key, item in value.items():
        if isinstance(key, str):
            _check_text(key)
        elif all(arm in (Any, object, str, NoneType) for arm in arms(key_hint)):
            fault = FaultError(f"the key is of type {class_name(type(key))} and would come back as text; use str keys")
            fault.steps.append(key)
            raise fault
        else:
            trail.unordered = True
            check(key, key_hint, trail)
        yield key, item, hints.get(cast("str", key), item_hint)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise FaultError(f"the text has a lone surrogate (at {exc.start}), which UTF-8 can't hold") from None


# --- text ----------------------------------------------------------------------------------------------------------

_PAIRED = bytes.maketrans(b"[]{}", b"()()")
_NO_MARKS = bytes(set(range(256)) - set(b'[]{}"'))


def is_too_deep(data: bytes | str) -> bool:
    """Whether JSON text has more levels than `MAX_DEPTH`, without reading it: a parser would run out of stack."""
    text = data.encode(errors="replace") if isinstance(data, str) else data
    if b"\\" in text:
        text = re.sub(rb"\\.", b"", text, flags=re.DOTALL)
    marks = text.translate(None, _NO_MARKS).replace(b'""', b"")  # parity stays: what is in a string stays in one
    brackets = re.sub(rb'"[^"]*"', b"", marks).translate(_PAIRED)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"()", b"")
        if not brackets:
            return False
    return b"()" in brackets or brackets.count(b"(") > MAX_DEPTH
