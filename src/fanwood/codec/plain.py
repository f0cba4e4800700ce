"""Values as JSON's own types, with their sets in order; and what msgspec asks of us for types that it doesn't know."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, cast, get_origin

import msgspec

from fanwood.codec.empty import is_open
from fanwood.codec.faults import FaultError, Trail, extras, no_form, walk
from fanwood.codec.models import is_pydantic, machinery_of
from fanwood.codec.shapes import class_name, class_of, is_sparse, members

if TYPE_CHECKING:
    from collections.abc import Iterable


def unsubclassed(value: Any) -> Any:
    """Subclasses of JSON's own types, which msgspec doesn't take for what they are."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__pos__(value)
    if isinstance(value, float):
        return float.__pos__(value)
    if isinstance(value, deque):
        return list(cast("deque[object]", value))
    raise TypeError(no_form(value))


def _to_plain(value: Any) -> Any:
    cls = class_of(value)
    if is_open(cls):
        return value.model_dump()
    return machinery_of(cls).to_python(value) if is_pydantic(cls) else unsubclassed(value)


def from_python(hint: Any, value: Any) -> Any:
    """A hook of msgspec's, for values that a caller gives."""
    if isinstance(value, get_origin(hint) or hint):
        return value
    if is_pydantic(hint):
        return machinery_of(hint).from_python(value)
    if is_open(hint) and isinstance(value, dict):
        return hint(**value)
    raise TypeError(f"Expected `{hint}`, got `{class_name(class_of(value))}`")


def without_enums(value: Any) -> Any:
    """Containers of JSON's with the values of enums in their places; the same object if there are none."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        pairs = [(without_enums(key), without_enums(item)) for key, item in items]
        same = all(key is a and item is b for (key, item), (a, b) in zip(items, pairs, strict=True))
        return cast("Any", value) if same else dict(pairs)
    if isinstance(value, (list, tuple, set, frozenset)):
        given = list(cast("Iterable[Any]", value))
        parts = [without_enums(item) for item in given]
        same = all(item is part for item, part in zip(given, parts, strict=True))
        return cast("Any", value) if same else parts
    return value


def dump(value: object) -> Any:
    """The value in JSON's own types, its sets as lists in their order of iteration."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_to_plain)


write = msgspec.json.Encoder(enc_hook=unsubclassed, order="deterministic").encode


def align(value: Any, dumped: Any) -> Any:
    """The dump of a value with its sets sorted: the value still knows which of the dump's lists were sets."""
    if isinstance(dumped, (list, tuple)) and isinstance(value, (list, tuple, set, frozenset, deque)):
        pairs = zip(cast("list[Any]", value), cast("list[Any]", dumped), strict=True)
        items = [align(item, text) for item, text in pairs]
        return sorted(items, key=write) if isinstance(value, (set, frozenset)) else items
    if isinstance(dumped, dict) and isinstance(value, dict):
        texts = cast("dict[Any, Any]", dumped).items()
        if len(texts) != len(cast("dict[Any, Any]", value)):
            raise FaultError("two of its keys are the same text in JSON, such as 1 and '1': use a list of pairs")
        pairs = zip(cast("dict[Any, Any]", value).values(), texts, strict=True)
        return {key: align(item, text) for item, (key, text) in pairs}
    if getattr(class_of(value), "__pydantic_root_model__", False):
        return align(value.root, dumped)
    if isinstance(dumped, dict) and members(class_of(value)) is not None:
        return _align_fields(value, cast("dict[str, Any]", dumped))
    if dumped == "**********" and hasattr(value, "get_secret_value"):
        raise FaultError(f"a {class_name(class_of(value))} is written as asterisks; pass a reference to the secret")
    return cast("Any", dumped)


def _align_fields(value: Any, dumped: dict[str, Any]) -> dict[str, Any]:
    fields = {member.key: member.name for member in members(class_of(value)) or ()}
    if is_sparse(class_of(value)):
        missing = {key: dump(getattr(value, name)) for key, name in fields.items() if key not in dumped}
        dumped = {key: (missing if key in missing else dumped)[key] for key in fields}
    more = extras(value)
    return {
        key: align(getattr(value, fields[key]) if key in fields else more.get(key), text)
        for key, text in dumped.items()
    }


def locate(value: Any, hint: Any) -> list[object]:
    """The steps to the innermost part that can't be written by itself; only asked after a failure."""
    try:
        for step, item, item_hint in walk(value, hint, Trail()):
            if not _can_be_written(item):
                return [step, *locate(item, item_hint)]
    except Exception:  # noqa: BLE001  (a property of the user's that raises: here is as far as we can tell)
        return []
    return []


def _can_be_written(value: object) -> bool:
    try:
        write(dump(value))
    except Exception:  # noqa: BLE001  (serializers are the user's code, and may raise anything)
        return False
    return True
