"""Typed values to canonical JSON text and back.

A child run is identified by a hash of its input's text, so equal values must give equal bytes in every process,
whatever the insertion order of a dict or the iteration order of a set. And a value that JSON can't hold must be
refused, with the place where it sits: a NaN that turns into `null` would otherwise surface days later, elsewhere.

msgspec does the work, and pydantic that of its own types. Pydantic is never imported here: its classes carry their
validator and serializer, and whoever declares one has imported it.

Where no type is declared, tuples come back as lists, models and dataclasses as dicts, and datetime, UUID, Decimal,
Enum and the like as the text (or number) that msgspec writes for them. Bytes, sets, and keys that aren't text are
refused there, as nobody would expect what comes back.
"""

# ruff: noqa: BLE001, S110, SIM905  validators, properties and serializers are the user's code, and may raise anything

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

import msgspec

from fanwood.errors import DeclarationError, InputValidationError, PayloadEncodingError, PayloadError

MAX_DEPTH = 200

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_SCALARS = frozenset({str, int, bool, NoneType})
_LEAVES = (int, Enum, date, time, timedelta, UUID)
_BYTES = (bytes, bytearray, memoryview)
_DEEP = f"it is nested deeper than {MAX_DEPTH} levels"
_MEANT = "use str, int, float, bool, None, list, dict, a dataclass, TypedDict, msgspec Struct or pydantic model"

# What pydantic's serializer writes in one way only. Whatever isn't listed takes the careful path.
_ORDERLY = frozenset(
    "model model-fields model-field dataclass dataclass-args dataclass-field nullable default int str bool float none "
    "list tuple union tagged-union literal enum date time datetime timedelta uuid decimal bytes url multi-host-url "
    "function-before function-after definitions definition-ref alias".split()
)
_NOT_SCHEMA = frozenset({"metadata", "default", "cls", "members", "expected", "computed_fields", "definitions"})


class _Fault(Exception):  # noqa: N818  (it never leaves this module)
    """A part of a value has no JSON form; the steps towards it are collected on the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[object] = []


@dataclasses.dataclass(frozen=True)
class _Member:
    name: str
    key: str
    hint: Any
    required: bool


@dataclasses.dataclass
class _Trail:
    """The containers around the place that is looked at, and whether any has more than one way to be written."""

    ids: set[int] = dataclasses.field(default_factory=set[int])
    unordered: bool = False


def _remember(function: F) -> F:
    """Cache by argument; an annotation that can't be hashed is worked out anew."""
    cached = functools.cache(function)

    @functools.wraps(function)
    def look_up(hint: Any) -> Any:
        try:
            hash(hint)
        except TypeError:
            return function(hint)
        return cached(hint)

    return cast("F", look_up)


# --- types ---------------------------------------------------------------------------------------------------------


@_remember
def _arms(hint: Any) -> tuple[Any, ...]:
    """The plain alternatives of an annotation: Union, Annotated, NewType, Required, `type X = ...` taken off."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return tuple(arm for part in get_args(hint) for arm in _arms(part))
    if origin is Annotated or getattr(origin, "_name", "") in ("Required", "NotRequired", "ReadOnly", "Final"):
        return _arms(get_args(hint)[0])
    if isinstance(hint, TypeVar):
        return (Any,)
    inner = getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)
    return (hint,) if inner is None or isinstance(hint, type) else _arms(inner)


def _kind(value: object) -> type[Any]:
    return type(value)


def _is_sparse(cls: type[Any]) -> bool:
    """Whether msgspec makes instances whose defaults are only the class's, and then doesn't write them."""
    if not dataclasses.is_dataclass(cls) or cls.__dictoffset__ == 0:
        return False
    return any(field.default is not dataclasses.MISSING for field in dataclasses.fields(cls))


def _is_pydantic(hint: object) -> bool:
    return isinstance(hint, type) and hasattr(hint, "__pydantic_validator__") and hasattr(hint, "__pydantic_fields__")


@_remember
def _members(cls: Any) -> tuple[_Member, ...] | None:
    """The fields of a model, dataclass, Struct or TypedDict; None for any other type."""
    if not isinstance(cls, type):
        return _members(get_origin(cls)) if get_origin(cls) is not None else None
    return _members_of(cast("Any", cls))


def _members_of(cls: type[Any]) -> tuple[_Member, ...] | None:
    if _is_pydantic(cls):
        fields = cast("dict[str, Any]", getattr(cls, "__pydantic_fields__", {}))
        return tuple(_Member(name, name, field.annotation, field.is_required()) for name, field in fields.items())
    if issubclass(cls, msgspec.Struct):
        return tuple(_Member(f.name, f.encode_name, f.type, f.required) for f in msgspec.structs.fields(cls))
    if is_typeddict(cls):
        needed = cast("Iterable[str]", getattr(cls, "__required_keys__", ()))
        return tuple(_Member(name, name, hint, name in needed) for name, hint in _hints(cls).items())
    if dataclasses.is_dataclass(cls):
        none = dataclasses.MISSING
        return tuple(
            _Member(f.name, f.name, _hints(cls).get(f.name, Any), f.default is none and f.default_factory is none)
            for f in dataclasses.fields(cls)
        )
    return None


def _hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except Exception:  # a name that only a type checker can see; its fields then count as undeclared
        return dict.fromkeys(inspect.get_annotations(cls), Any)


def _parts(hint: Any, base: type) -> list[tuple[Any, ...]]:
    found = [(get_args(arm), get_origin(arm) or arm) for arm in _arms(hint)]
    return [args for args, origin in found if isinstance(origin, type) and issubclass(origin, base)]


def _child(parts: list[tuple[Any, ...]], index: int) -> Any:
    options = tuple(args[index] if len(args) > index else Any for args in parts)
    return Union[options] if options else Any  # noqa: UP007  (made of a tuple)


def _is_closed(hint: Any, above: tuple[Any, ...] = ()) -> bool:
    """Whether msgspec writes all values of the type in one way, losing nothing: no Any, set, dict or recursion."""
    for arm in _arms(hint):
        origin, args = get_origin(arm) or arm, get_args(arm)
        if arm in above or not isinstance(origin, type) or origin is object:
            return False
        if origin in (list, tuple):
            if not args or not all(part is ... or _is_closed(part, above) for part in args):
                return False
        elif _is_pydantic(origin):
            if arm not in above and not codec_for(origin).orderly:
                return False
        elif not is_typeddict(origin) and not _is_sparse(origin) and (members := _members(arm)) is not None:
            if not all(_is_closed(member.hint, (*above, arm)) for member in members):
                return False
        elif origin not in _SCALARS and not issubclass(
            origin, (float, Decimal, bytes, Enum, date, time, timedelta, UUID)
        ):
            return False
    return True


# --- looking at values ---------------------------------------------------------------------------------------------


def _is_plain(value: object, depth: int = 1) -> bool:
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
        return type(value) in _SCALARS or (type(value) is float and math.isfinite(value))
    if depth > MAX_DEPTH:
        return False
    for item in items:  # noqa: SIM110  (a generator costs twice as much)
        if type(item) not in _SCALARS and not _is_plain(item, depth + 1):
            return False
    return True


def _check(value: Any, hint: Any, trail: _Trail) -> None:
    """Raise a `_Fault` for the first part that would be lost or changed."""
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value)
    elif isinstance(value, (float, Decimal)):
        if not math.isfinite(value):
            raise _Fault(f"{value} has no JSON form; use None or text")
    elif value is None or isinstance(value, _LEAVES):
        return
    elif isinstance(value, _BYTES):
        if not any(_parts(hint, base) for base in _BYTES):
            raise _Fault(f"{_kind(cast('object', value)).__name__} have no JSON form; encode them as text, e.g. base64")
    elif id(value) in trail.ids:
        raise _Fault("it refers to itself")
    elif len(trail.ids) >= MAX_DEPTH:
        raise _Fault(_DEEP)
    else:
        trail.ids.add(id(value))
        for step, item, item_hint in _items(value, hint, trail):
            try:
                _check(item, item_hint, trail)
            except _Fault as fault:
                fault.steps.insert(0, step)
                raise
        trail.ids.discard(id(value))


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise _Fault(f"the text has a lone surrogate (at {exc.start}), which UTF-8 can't hold") from None


def _items(value: Any, hint: Any, trail: _Trail) -> Iterator[tuple[object, Any, Any]]:
    """The parts of a container as (step, part, the part's annotation)."""
    members = _members(_kind(value))
    if isinstance(value, dict):
        yield from _dict_items(cast("dict[object, object]", value), hint, trail)
    elif isinstance(value, (list, tuple, deque)):
        sequence = cast("list[object]", value)
        parts = [p for base in (list, tuple, deque) for p in _parts(hint, base)] or _parts(hint, Iterable)
        fixed = len(parts) == 1 and len(parts[0]) == len(sequence) and ... not in parts[0]
        for index, item in enumerate(sequence):
            yield index, item, _child(parts, index if fixed else 0)
    elif isinstance(value, (set, frozenset)):
        trail.unordered = True
        parts = _parts(hint, AbstractSet)
        if not parts:
            raise _Fault(f"a {type(cast('object', value)).__name__} would come back as a list; pass a sorted list")
        for index, item in enumerate(cast("set[object]", value)):
            yield index, item, _child(parts, 0)
    elif members is not None:
        trail.unordered = trail.unordered or _is_sparse(_kind(value))
        for member in members:
            if hasattr(value, member.name):
                yield member.name, getattr(value, member.name), member.hint
        for name, item in cast("dict[str, Any]", getattr(value, "__pydantic_extra__", None) or {}).items():
            yield name, item, Any
    elif not _parts(hint, _kind(value)) and not any(
        isinstance(arm, type) and arm not in (Any, object) and isinstance(value, arm) for arm in _arms(hint)
    ):
        raise _Fault(f"an object of type {_name(_kind(value))} has no JSON form; {_MEANT}")


def _dict_items(value: dict[object, object], hint: Any, trail: _Trail) -> Iterator[tuple[object, Any, Any]]:
    shapes = [members for arm in _arms(hint) if is_typeddict(get_origin(arm) or arm) and (members := _members(arm))]
    hints = {member.key: member.hint for members in shapes for member in members}
    parts = _parts(hint, Mapping)
    parts = [args for args in parts if args] or parts
    key_hint, item_hint = _child(parts, 0), _child(parts, 1)
    for key, item in value.items():
        if isinstance(key, str):
            _check_text(key)
        elif all(arm in (Any, object, str, NoneType) for arm in _arms(key_hint)):
            fault = _Fault(f"the key is of type {_name(type(key))} and would come back as text; use str keys")
            fault.steps.append(key)
            raise fault
        else:
            trail.unordered = True
            _check(key, key_hint, trail)
        yield key, item, hints.get(cast("str", key), item_hint)


def _align(value: Any, dumped: Any) -> Any:
    """The dump of a value with its sets sorted: the value still knows which of the dump's lists were sets."""
    pairs: list[tuple[Any, Any]]
    if isinstance(dumped, list) and isinstance(value, (list, tuple, set, frozenset, deque)):
        pairs = list(zip(cast("list[Any]", value), cast("list[Any]", dumped), strict=True))
        items = [_align(item, text) for item, text in pairs]
        return sorted(items, key=_encode) if isinstance(value, (set, frozenset)) else items
    if isinstance(dumped, dict) and isinstance(value, dict):
        pairs = list(zip(cast("dict[Any, Any]", value).values(), cast("dict[Any, Any]", dumped).items(), strict=True))
        return {key: _align(item, text) for item, (key, text) in pairs}
    if getattr(_kind(value), "__pydantic_root_model__", False):
        return _align(value.root, dumped)
    if isinstance(dumped, dict) and (members := _members(_kind(value))) is not None:
        names = {member.key: member.name for member in members}
        extra = cast("dict[str, Any]", getattr(value, "__pydantic_extra__", None) or {})
        parts = cast("dict[str, Any]", dumped)
        if _is_sparse(_kind(value)):
            parts = {m.key: parts[m.key] if m.key in parts else _dump(getattr(value, m.name)) for m in members}
        return {k: _align(getattr(value, names[k]) if k in names else extra.get(k), v) for k, v in parts.items()}
    if dumped == "**********" and hasattr(value, "get_secret_value"):
        raise _Fault(f"a {_name(_kind(value))} is written as asterisks; pass a reference to the secret")
    return cast("Any", dumped)


def _locate(value: Any, hint: Any) -> list[object]:
    """The steps to the innermost part that can't be encoded by itself; only asked after a failure."""
    try:
        for step, item, item_hint in _items(value, hint, _Trail()):
            try:
                _encode(_dump(item))
            except Exception:
                return [step, *_locate(item, item_hint)]
    except Exception:
        return []
    return []


# --- saying what is wrong ------------------------------------------------------------------------------------------


def _name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _path(steps: Any) -> str:
    def segment(step: object) -> str:
        return f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{step!r}]"

    return "".join(segment(step) for step in steps)


def _problems(exc: Exception) -> list[tuple[str, str]]:
    core = sys.modules.get("pydantic_core")
    if core is not None and isinstance(exc, core.ValidationError):
        errors: list[dict[str, Any]] = cast("Any", exc).errors(
            include_url=False, include_context=False, include_input=False
        )
        return [(_path(error["loc"]).lstrip("."), error["msg"]) for error in errors]
    try:
        text = str(exc)
    except Exception:  # the user's own class
        text = "(its message can't be shown)"
    if not isinstance(exc, msgspec.MsgspecError):
        return [("", f"{type(exc).__name__}: {text}")]
    found = re.fullmatch(r"(.*?)(?: - at (?:`key` in )?`\$([^`]*)`)?", text, re.DOTALL)
    return [((found[2] or "").lstrip("."), found[1])] if found else [("", text)]


def _all_problems(value: Any, hint: Any, path: str = "") -> list[tuple[str, str]]:
    """As msgspec stops at the first problem: convert part by part, to tell all."""
    try:
        msgspec.convert(value, hint, dec_hook=_from_python, str_keys=True)
    except Exception as exc:
        own = _problems(exc.__cause__ if _is_pydantic(hint) and isinstance(exc.__cause__, Exception) else exc)
    else:
        return []
    found: list[tuple[str, str]] = []
    arms = [arm for arm in _arms(hint) if arm is not NoneType]
    if len(arms) == 1 and isinstance(value, dict) and not _is_pydantic(arms[0]) and (members := _members(arms[0])):
        given = cast("dict[str, Any]", value)
        for member in members:
            if member.key in given:
                found += _all_problems(given[member.key], member.hint, path + _path([member.key]))
            elif member.required:
                found.append((path + _path([member.key]), "is required"))
    elif len(arms) == 1 and isinstance(value, list) and (parts := _parts(arms[0], list)):
        for index, item in enumerate(cast("list[Any]", value)):
            found += _all_problems(item, _child(parts, 0), f"{path}[{index}]")
    joined = [(path + ("." if place[:1] not in ("", "[") else "") + place, text) for place, text in own]
    return [(place.lstrip("."), text) for place, text in found or joined]


def _invalid(subject: str, exc: Exception) -> PayloadError:
    return exc if isinstance(exc, PayloadError) else InputValidationError(subject, _problems(exc))


def _refuse_depth(data: bytes | str, subject: str) -> None:
    text = data.encode(errors="replace") if isinstance(data, str) else data
    if b"\\" in text:
        text = re.sub(rb"\\.", b"", text, flags=re.DOTALL)
    marks = text.translate(None, _NO_MARKS).replace(b'""', b"")  # parity stays: what is in a string stays in one
    brackets = re.sub(rb'"[^"]*"', b"", marks).translate(_PAIRED)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"()", b"")
        if not brackets:
            return
    if b"()" in brackets or brackets.count(b"(") > MAX_DEPTH:
        raise PayloadEncodingError(subject, "its JSON text", _DEEP)


_PAIRED = bytes.maketrans(b"[]{}", b"()()")
_NO_MARKS = bytes(set(range(256)) - set(b'[]{}"'))


# --- msgspec's hooks -----------------------------------------------------------------------------------------------


def _unsubclassed(value: Any) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__pos__(value)
    if isinstance(value, float):
        return float.__pos__(value)
    if isinstance(value, deque):
        return list(cast("deque[object]", value))
    raise TypeError(f"an object of type {_name(_kind(value))} has no JSON form; {_MEANT}")


def _to_raw(value: Any) -> Any:
    return msgspec.Raw(codec_for(_kind(value)).encode(value)) if _is_pydantic(_kind(value)) else _unsubclassed(value)


def _to_plain(value: Any) -> Any:
    return codec_for(_kind(value)).dump(value) if _is_pydantic(_kind(value)) else _unsubclassed(value)


def _from_python(hint: Any, value: Any) -> Any:
    if isinstance(value, get_origin(hint) or hint):
        return value
    if _is_pydantic(hint):
        return hint.__pydantic_validator__.validate_python(value)
    raise TypeError(f"Expected `{hint}`, got `{_name(_kind(value))}`")


def _from_json(hint: Any, value: Any) -> Any:
    if _is_pydantic(hint):
        return codec_for(hint).decode(_encode(value))
    raise TypeError(f"`{hint}` can't be made from JSON")


_encode = msgspec.json.Encoder(enc_hook=_to_raw, order="deterministic").encode
_decode = msgspec.json.Decoder().decode


def _dump(value: object) -> Any:
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_to_plain)


# --- codecs --------------------------------------------------------------------------------------------------------


class Codec(Generic[T]):
    """Values of one declared type, to canonical JSON text and back. This base is the one for undeclared types.

    `root` tells inputs from outputs: an input must fit the declared type, an output (`root="output"`) that is some
    other JSON value or model is written as it is.
    """

    orderly = False
    """Whether every value of the type is written in one way by one call of its serializer."""

    def __init__(self, declared: Any = Any) -> None:
        self.declared = declared

    def encode(self, value: object, subject: str = "value", root: str = "input") -> bytes:
        try:
            if type(value) in _SCALARS or _is_plain(value):
                return _encode(value)
        except Exception:  # told below, with its place
            pass
        return self._encode_slowly(value, subject, root)

    def decode(self, data: bytes | str, subject: str = "value") -> T:
        if len(data) > 2 * MAX_DEPTH:
            _refuse_depth(data, subject)
        try:
            return self._parse(data)
        except Exception as exc:
            raise self._undecodable(data, subject, exc) from exc

    def validate(self, value: object, subject: str) -> T:  # noqa: ARG002  (any value will do here)
        """A value that a caller gives for this type, checked; None stands for an object without fields."""
        return cast("T", value)

    def schema(self) -> dict[str, object] | None:
        return None

    def dump(self, value: Any) -> Any:
        """The value in JSON's own types, its sets as lists in their order of iteration."""
        return _dump(value)

    def _parse(self, data: bytes | str, /) -> T:
        return _decode(data)

    def _undecodable(self, data: bytes | str, subject: str, exc: Exception) -> PayloadError:  # noqa: ARG002
        return _invalid(subject, exc)

    def _encode_slowly(self, value: Any, subject: str, root: str) -> bytes:
        trail = _Trail()
        try:
            _check(value, self.declared, trail)
            return self._write(value, trail)
        except InputValidationError:
            raise
        except _Fault as fault:
            raise PayloadEncodingError(subject, root + _path(fault.steps), fault.reason) from None
        except Exception as exc:
            place = root + _path(_locate(value, self.declared))
            raise PayloadEncodingError(subject, place, _problems(exc)[0][1]) from exc

    def _write(self, value: Any, trail: _Trail) -> bytes:
        if not trail.unordered:
            try:
                return _encode(value)
            except TypeError:  # a subclass of str or int as a key
                pass
        return _encode(_align(value, self.dump(value)))


class _TypedCodec(Codec[T]):
    """A dataclass, TypedDict, Struct, or anything else that msgspec knows."""

    def __init__(self, declared: Any) -> None:
        super().__init__(declared)
        self._cls = declared if isinstance(declared, type) and not is_typeddict(declared) else None
        self._trusted = self._cls if _members(declared) is not None else None
        self._fields = _members(declared) is not None
        self.orderly = _is_closed(declared)
        self._parse = msgspec.json.Decoder(declared, dec_hook=_from_json).decode

    def encode(self, value: object, subject: str = "value", root: str = "input") -> bytes:
        trusted = self._trusted is not None and isinstance(value, self._trusted)
        try:
            if root == "output" and not trusted:
                if type(value) in _SCALARS or _is_plain(value):
                    return _encode(value)
                return self._encode_slowly(value, subject, root)
        except PayloadError:
            raise
        except Exception:
            return self._encode_slowly(value, subject, root)
        if not trusted:
            value = self.validate(value, subject)
        try:
            if self.orderly or _is_plain(value):
                data = _encode(value)
                if b"null" not in data:
                    return data
        except Exception:  # told below, with its place
            pass
        return self._encode_slowly(value, subject, root)

    def validate(self, value: object, subject: str) -> T:
        given: Any = {} if value is None and self._fields else value
        try:
            return msgspec.convert(given, self.declared, dec_hook=_from_python)
        except RecursionError as exc:
            self._encode_slowly(value, subject, "input")
            raise _invalid(subject, exc) from exc
        except Exception as exc:
            raise InputValidationError(subject, _all_problems(given, self.declared) or _problems(exc)) from exc

    def schema(self) -> dict[str, object] | None:
        shared: dict[str, Any] = {}

        def of_model(cls: Any) -> dict[str, Any]:
            inner = codec_for(cls).schema() or {}
            shared.update(cast("dict[str, Any]", inner.pop("$defs", {})))
            return inner

        try:
            found = msgspec.json.schema(self.declared, schema_hook=of_model)
        except Exception:  # a form in the dashboard is a help; without one the JSON is typed by hand
            return None
        return {**found, "$defs": {**found.get("$defs", {}), **shared}} if shared else found

    def _undecodable(self, data: bytes | str, subject: str, exc: Exception) -> PayloadError:
        try:
            return InputValidationError(subject, _all_problems(_decode(data), self.declared) or _problems(exc))
        except Exception:
            return _invalid(subject, exc)


class _ModelCodec(Codec[T]):
    """A pydantic model or dataclass, or (by a TypeAdapter) a union of such."""

    def __init__(self, declared: Any, validator: Any, serializer: Any, core: Any, adapter: Any = None) -> None:
        super().__init__(declared)
        kinds = _kinds(core)
        self._cls: type | None = declared if adapter is None else None
        self._adapter = adapter
        self._fields = adapter is None and not getattr(declared, "__pydantic_root_model__", False)
        self._validator = validator
        self._to_json = serializer.to_json
        self._to_python = serializer.to_python
        self._floats = "float" in kinds
        self.orderly = kinds <= _ORDERLY
        self._parse = validator.validate_json
        if "alias" in kinds:  # written by name, read by either
            self._parse = functools.partial(validator.validate_json, by_alias=True, by_name=True)

    def encode(self, value: object, subject: str = "value", root: str = "input") -> bytes:
        if type(value) is not self._cls and (self._cls is None or not isinstance(value, self._cls)):
            if root == "output":
                return _UNTYPED.encode(value, subject, root)
            value = self.validate(value, subject)
        if self.orderly:
            try:
                data: bytes = self._to_json(value, round_trip=True, by_alias=False)
                if not self._floats or not (b"null" in data or b"NaN" in data or b"Infinity" in data):
                    return data
            except Exception:  # told below, with its place
                pass
        return self._encode_slowly(value, subject, root)

    def validate(self, value: object, subject: str) -> T:
        if self._cls is not None and isinstance(value, self._cls):
            return cast("T", value)
        try:
            return self._validator.validate_python({} if value is None and self._fields else value)
        except Exception as exc:
            raise _invalid(subject, exc) from exc

    def schema(self) -> dict[str, object] | None:
        try:
            adapter = self._adapter or sys.modules["pydantic"].TypeAdapter(self.declared)
            return adapter.json_schema()
        except Exception:  # a form in the dashboard is a help; without one the JSON is typed by hand
            return None

    def dump(self, value: Any) -> Any:
        return self._to_python(value, mode="json", round_trip=True, by_alias=False, warnings=False)

    def _write(self, value: Any, trail: _Trail) -> bytes:  # noqa: ARG002
        try:
            data: bytes = self._to_json(value, round_trip=True, by_alias=False)
        except Exception:  # an instance whose fields were set without validation, or a union pydantic is unsure of
            data = self._to_json(value, round_trip=True, by_alias=False, warnings=False)
            value = self.decode(data)
            data = self._to_json(value, round_trip=True, by_alias=False, warnings=False)
        if self.orderly:
            return data
        dumped = self.dump(value)
        _check(dumped, Any, _Trail())
        return _encode(_align(value, dumped))


def _kinds(core: Any) -> set[str]:  # noqa: C901  (one walk, with its state)
    """What a pydantic core schema is made of; "custom", "alias", "recursive" and "any" stand for what matters here."""
    kinds: set[str] = set()
    known: dict[str, Any] = {}
    done: set[str] = set()

    def visit(node: Any, inside: frozenset[str]) -> None:
        if isinstance(node, (list, tuple)):
            for part in cast("list[Any]", node):
                visit(part, inside)
        elif isinstance(node, dict):
            visit_dict(cast("dict[str, Any]", node), inside)

    def visit_dict(node: dict[str, Any], inside: frozenset[str]) -> None:
        kind = node.get("type")
        if isinstance(kind, str):
            kinds.add(kind)
        if kind == "definitions":
            known.update({part["ref"]: part for part in node["definitions"]})
        if kind == "definition-ref":
            ref = node["schema_ref"]
            if ref in inside:
                kinds.add("recursive")
            elif ref not in done:
                visit(known.get(ref, {"type": "unknown"}), inside | {ref})
                done.add(ref)
        for key, part in node.items():
            if key == "serialization":
                kinds.add("custom")
            elif key.endswith("alias") and part is not None:
                kinds.add("alias")
            elif key == "extra_fields_behavior" and part == "allow":
                kinds.add("any")
            elif key not in _NOT_SCHEMA:
                visit(part, inside)

    visit(core, frozenset())
    return kinds


_UNTYPED: Codec[Any] = Codec()


@_remember
def codec_for(declared: Any) -> Codec[Any]:
    """The codec of an annotation; Any, None or no annotation at all mean any JSON value."""
    if declared in (Any, None, NoneType, inspect.Parameter.empty, object):
        return _UNTYPED
    try:
        if _is_pydantic(declared):
            if not getattr(declared, "__pydantic_complete__", True) and hasattr(declared, "model_rebuild"):
                declared.model_rebuild(raise_errors=False)
            parts = (declared.__pydantic_validator__, declared.__pydantic_serializer__)
            return _ModelCodec(declared, *parts, declared.__pydantic_core_schema__)
        try:
            return _TypedCodec(declared)
        except TypeError:  # msgspec has no unions of models
            if "pydantic" not in sys.modules:
                raise
            adapter: Any = sys.modules["pydantic"].TypeAdapter(declared)
            return _ModelCodec(declared, adapter.validator, adapter.serializer, adapter.core_schema, adapter)
    except Exception as exc:
        raise DeclarationError(f"values of type {declared!r} can't travel as JSON: {_problems(exc)[0][1]}") from exc
