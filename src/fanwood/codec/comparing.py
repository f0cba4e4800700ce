"""Whether what was read back is what was written."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fanwood.codec.faults import FaultError, Trail, extras, walk
from fanwood.codec.shapes import arms, class_name, class_of, members

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

_JSON = (dict, list, str, int, float, bool, type(None))
_SEQUENCES = (list, tuple, deque)
_SETS = (set, frozenset)
_MISSING = object()


def is_same(back: object, value: object) -> bool:
    """The common case, quickly: both say so. (Classes with fields compare their types as well.)"""
    return type(back) is type(value) and (back == value) is True


def compare(value: Any, back: Any, hint: Any, *, strict: bool, exact: bool = False) -> None:
    """Raise a `FaultError` for the first part that comes back as something else than it was.

    Where no type is declared a value comes back in JSON's own types. Unless `strict`, that holds the other way round as
    well: plain JSON may come back as what its declaration makes of it. If `exact`, also what is equal is looked into,
    as `[(1, 2)] == [Pair(1, 2)]`, and a union has both.
    """
    if type(back) in _JSON and _is_undeclared(hint):
        return
    same, has_parts = is_same(back, value) or _equal(value, back, exact=exact and int in arms(hint)), _has_parts(value)
    if isinstance(value, Enum) and type(value) is not type(back) and class_of(value) in arms(hint):
        raise FaultError(_changed(value, back))  # an alternative that is equal to it, as the text of a StrEnum
    if same and not (exact and has_parts):
        return
    if type(value) is not type(back) and not _is_like(value, back, strict=strict):
        if not strict and type(value) in _JSON and back is not _MISSING:
            return
        raise FaultError(_changed(value, back))
    if not has_parts or (not same and isinstance(value, _SETS)):
        raise FaultError(f"it would come back as {back!r:.80}")
    _compare_sizes(value, back)
    for step, item, item_hint in walk(value, hint, Trail()):
        try:
            compare(item, _part(back, step, item), item_hint, strict=strict, exact=exact)
        except FaultError as fault:
            fault.steps.insert(0, step)
            raise
    _compare_private(value, back)


def _compare_private(value: Any, back: Any) -> None:
    """Of a model: pydantic writes none of its private attributes, and the class sets them anew. What a factory makes
    differs from object to object as it is."""
    declared = cast("dict[str, Any]", getattr(class_of(value), "__private_attributes__", {}))
    held: dict[str, Any] = getattr(value, "__pydantic_private__", None) or {}
    has: dict[str, Any] = getattr(back, "__pydantic_private__", None) or {}
    for name, item in held.items():
        if (name in declared and declared[name].default_factory) or is_same(has.get(name, _MISSING), item):
            continue
        raise FaultError(f"its private attribute {name} would not come back: make it a field")


def _has_parts(value: Any) -> bool:
    return isinstance(value, (dict, *_SEQUENCES, *_SETS)) or members(class_of(value)) is not None


def _is_undeclared(hint: Any) -> bool:
    """(A type variable stands for something that was declared.)"""
    return not isinstance(hint, TypeVar) and any(arm in (Any, object) for arm in arms(hint))


def _is_like(value: Any, back: Any, *, strict: bool) -> bool:
    """The same container to whoever declared it: a Counter for a dict; and unless `strict`, a tuple for a list."""
    if type(back) is dict:
        return isinstance(value, dict)
    return not strict and type(back) in _SEQUENCES and isinstance(value, _SEQUENCES)


def _compare_sizes(value: Any, back: Any) -> None:
    """What is only in what comes back: a `__post_init__` or a validator that adds to a list adds to it again."""
    if members(class_of(value)) is not None:
        value, back = extras(value), extras(back)
    had, has = len(value), len(back)
    if had == has:
        return
    lost = [key for key in cast("dict[Any, Any]", value) if key not in back] if isinstance(back, dict) else []
    without = f", without {', '.join(map(repr, lost[:10]))}" if lost else ""
    raise FaultError(f"it would come back with {has} items, and has {had}{without}")


def _equal(value: Any, back: Any, *, exact: bool) -> bool:
    """Equal, and no model that lost its class: 1 and 1.0 (if not `exact`: the number could have stayed whole), an
    IntEnum and its number, an instant in another zone."""
    if members(class_of(value)) is not None or isinstance(value, (dict, list, tuple)):
        return False
    if class_of(value) in _SETS and class_of(back) in _SETS:
        return _instants(value) == _instants(back)
    if not isinstance(value, class_of(back)) and (exact or not (type(value) is int and type(back) is float)):
        return False
    try:
        return (_instant(value) == _instant(back)) is True
    except Exception:  # noqa: BLE001  (comparing is the user's code)
        return False


def _instant(value: Any) -> Any:
    """In an hour that clocks go through twice, or skip, times of two zones never are equal, as PEP 495 has it."""
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value


def _instants(values: AbstractSet[object]) -> set[object]:
    return {_instant(value) for value in values}


def _part(back: Any, step: object, item: object) -> Any:
    if isinstance(back, _SETS):
        return {_instant(part): part for part in cast("set[Any]", back)}.get(_instant(item), _MISSING)
    if isinstance(back, dict):
        found = cast("dict[object, Any]", back)
        if step not in found and isinstance(step, datetime):
            return {_instant(key): item for key, item in found.items()}.get(_instant(step), _MISSING)
        return found.get(step, _MISSING)
    if isinstance(back, _SEQUENCES):
        items = cast("list[Any]", back)
        return items[step] if isinstance(step, int) and step < len(items) else _MISSING
    return getattr(back, cast("str", step), _MISSING)


def _changed(value: object, back: object) -> str:
    if back is _MISSING:
        return "it would not come back"
    mine, theirs = members(class_of(value)), members(class_of(back))
    said = f"a {class_name(class_of(value))} would come back as a {class_name(class_of(back))}"
    if mine is None or theirs is None:
        return said
    lost = [member.name for member in mine if member.name not in {other.name for other in theirs}]
    return f"{said}{', without ' + ', '.join(lost) if lost else ''}; declare its own type, or a union with it"
