"""Who knows a type: msgspec, or pydantic, or nobody. Asked once, at a declaration."""

from __future__ import annotations

import dataclasses
import re
from enum import Enum, Flag
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Unpack,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from fanwood.codec.empty import is_open
from fanwood.codec.models import is_pydantic, machinery_of
from fanwood.codec.rewriting import no_key
from fanwood.codec.shapes import class_name, is_typed_dict, members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fanwood.codec.models import Machinery

_CONSTRAINING = ("annotated_types", "pydantic", "pydantic_core")
_OF_PARTS = (
    msgspec.inspect.TupleType,
    msgspec.inspect.VarTupleType,
    msgspec.inspect.NamedTupleType,
    msgspec.inspect.FrozenSetType,
    msgspec.inspect.DataclassType,
    msgspec.inspect.StructType,
)
_META = frozenset({"gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length"})
_PROBES = (b"null", b"true", b"1", b"1.5", b'"x"', b'"1"', b"[]", b"{}")


def pieces(hint: Any, seen: set[Any] | None = None) -> Iterator[Any]:
    """All that an annotation is made of: its classes, those of their fields, and what stands in `Annotated`. Models of
    pydantic's are looked at by pydantic."""
    seen = set() if seen is None else seen
    key = hint if isinstance(hint, type) else id(hint)
    if key in seen:
        return
    seen.add(key)
    origin = get_origin(hint)
    if origin is Literal:
        yield from (part for part in get_args(hint) if isinstance(part, Enum))
        return
    if origin is Unpack or getattr(hint, "__unpacked__", False):
        raise ValueError(f"neither msgspec nor pydantic knows {hint!r} among others: use a list, or a dataclass")
    if origin is re.Pattern and bytes in get_args(hint):
        raise ValueError("a pattern of bytes can't be written: use Pattern[str]")
    if type in (origin, hint):
        raise ValueError("a class can't be written: pass its name")
    if origin is Annotated:
        yield from cast("Any", hint).__metadata__
    inner = getattr(hint, "__supertype__", None) or (
        None if isinstance(hint, type) else getattr(hint, "__value__", None)
    )
    for part in (*get_args(hint)[: 1 if origin is Annotated else None], inner):
        if part is not None and not isinstance(part, (str, bytes, int)):
            yield from pieces(part, seen)
    cls = origin or hint
    if isinstance(cls, type):
        yield cls
        for field_hint in _fields(cls):
            yield from pieces(field_hint, seen)


def _fields(cls: Any) -> list[Any]:
    if is_pydantic(cls):
        return []
    if tuple in cls.__mro__ and hasattr(cls, "_fields"):
        try:
            return list(get_type_hints(cls, include_extras=True).values())
        except Exception:  # noqa: BLE001  (a name that only a type checker sees)
            return []
    return [member.hint for member in members(cls) or ()]


def enums(hint: Any) -> list[type[Enum]]:
    """The enums in an annotation."""
    return [cast("type[Enum]", piece) for piece in pieces(hint) if _is_enum(piece)]


def shapes(hint: Any) -> list[type[Any]]:
    """The TypedDicts in an annotation."""
    return [piece for piece in pieces(hint) if is_typed_dict(piece)]


def _is_enum(piece: Any) -> bool:
    return isinstance(piece, type) and issubclass(piece, Enum)


def is_foreign(hint: Any) -> bool:
    """Whether msgspec would take the type and not see what is meant: constraints of pydantic's, flags that are put
    together, enums whose values are neither all text nor all whole numbers."""
    return any(_is_foreign(piece) for piece in pieces(hint))


def _is_foreign(piece: Any) -> bool:
    if not isinstance(piece, type):
        return (
            isinstance(piece, Enum)
            or type(piece).__module__.partition(".")[0] in _CONSTRAINING
            or hasattr(piece, "__get_pydantic_core_schema__")
        )
    if not _is_enum(piece):
        return False
    values = [member.value for member in cast("type[Enum]", piece)]
    return issubclass(cast("type[Any]", piece), Flag) or not any(
        all(type(value) is kind for value in values) for kind in (str, int)
    )


def refuse_structs(hint: Any) -> None:
    """What must be pydantic's, since msgspec doesn't know it all, and has Structs in it, which pydantic doesn't know.

    Raises:
        TypeError: it has.
    """
    found = list(pieces(hint))
    structs = [piece for piece in found if isinstance(piece, type) and issubclass(piece, msgspec.Struct)]
    if not structs:
        return
    foreign = [piece for piece in found if _is_foreign(piece)]
    metas = [f"{name}={value!r}" for piece in foreign for name, value in _as_meta(piece)]
    name, what = class_name(structs[0]), repr(foreign[0]) if foreign else "a part of it"
    if metas:
        raise TypeError(f"msgspec would not see {what} beside {name}, a Struct: use msgspec.Meta({', '.join(metas)})")
    raise TypeError(f"only pydantic knows {what}, and it knows no Structs, such as {name}: make that a dataclass")


def _as_meta(piece: Any) -> list[tuple[str, Any]]:
    """A constraint of annotated_types as keywords of `msgspec.Meta`."""
    if type(piece).__module__ != "annotated_types" or not dataclasses.is_dataclass(piece):
        return []
    found = [(field.name, getattr(piece, field.name)) for field in dataclasses.fields(piece)]
    return [(name, value) for name, value in found if value is not None and name in _META]


def refuse_unknown(hint: Any) -> None:
    """Msgspec takes any class, for its hooks to make something of; ours know pydantic's only, and of these what can be
    read. And it takes dicts with any keys.

    Raises:
        TypeError: there is one that msgspec would not read.
        ValueError: nobody would: keys of several parts have no text; or part of it would be lost.
    """
    _look(msgspec.inspect.type_info(hint), set())


def _look(node: Any, seen: set[int]) -> None:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, msgspec.inspect.CustomType):
        cls = get_origin(node.cls) or node.cls
        if is_pydantic(cls):
            machinery_of(cls)
        elif not is_open(cls):
            raise TypeError(f"nobody knows how to read a {class_name(cls)} from JSON")
    if isinstance(node, msgspec.inspect.DictType):
        _look_at_key(node.key_type)
    if isinstance(node, msgspec.inspect.DataclassType):
        _look_at_attributes(node.cls)
    if isinstance(node, (list, tuple)):
        for part in cast("list[Any]", node):
            _look(part, seen)
    elif isinstance(node, (msgspec.inspect.Type, msgspec.inspect.Field)):
        for name in cast("Any", node).__struct_fields__:
            if name not in ("default", "cls"):
                _look(getattr(node, name), seen)


def _look_at_attributes(cls: Any) -> None:
    """Of a class of attrs' msgspec leaves out what begins with an underscore (of a dataclass it does not)."""
    attributes: Any = getattr(get_origin(cls) or cls, "__attrs_attrs__", ())
    for name in (str(attribute.name) for attribute in attributes):
        if name.startswith("_"):
            raise ValueError(
                f"msgspec does not write {name} of {class_name(cls)}, for its underscore: name it otherwise"
            )


def _look_at_key(key: msgspec.inspect.Type) -> None:
    for arm in key.types if isinstance(key, msgspec.inspect.UnionType) else (key,):
        if isinstance(arm, msgspec.inspect.BoolType):
            raise TypeError("msgspec writes no such keys")
        if isinstance(arm, msgspec.inspect.NoneType) or None in getattr(arm, "values", ()):
            raise no_key("None")
        if isinstance(arm, _OF_PARTS):
            raise no_key("a value of several parts")


def refuse_unreadable(machinery: Machinery) -> None:
    """What pydantic checks in memory only, or reads piece by piece while it is asked for.

    Raises:
        TypeError: there is such a thing.
    """
    bad = machinery.kinds & {"generator", "callable", "is-subclass"}
    if bad or _only_in_memory(machinery):
        what = ", ".join(sorted(bad)) or "an object that exists in memory only"
        raise TypeError(f"it can't be read from JSON ({what})")


def _only_in_memory(machinery: Machinery) -> bool:
    found = False
    for probe in _PROBES:
        try:
            machinery.from_json(probe)
        except Exception as exc:  # noqa: BLE001  (validators are the user's code)
            errors: Any = getattr(exc, "errors", None)
            found = found or (
                callable(errors) and any(e["type"] == "needs_python_object" for e in cast("Any", errors()))
            )
        else:
            return False
    return found
