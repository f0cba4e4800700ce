"""The codecs: of undeclared types, of those that msgspec knows, and of pydantic's."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from types import NoneType
from typing import TYPE_CHECKING, Any, Generic, Never, NoReturn, TypeVar, cast

import msgspec

from fanwood import logs
from fanwood.checks import shown
from fanwood.codec.comparing import compare, is_same
from fanwood.codec.empty import EmptyModel, is_open
from fanwood.codec.faults import MAX_DEPTH, TOO_DEEP, FaultError, Trail, check, is_plain, is_too_deep
from fanwood.codec.knowing import enums, is_foreign, refuse_structs, refuse_unknown, refuse_unreadable, shapes
from fanwood.codec.models import Machinery, assemble, is_pydantic, machinery_of
from fanwood.codec.plain import align, dump, from_python, locate, unsubclassed, without_enums
from fanwood.codec.problems import all_problems, dropped, invalid, path, problems, said_of_namesake, said_of_none
from fanwood.codec.refusing import reason_of, refuse_what_is_no_type
from fanwood.codec.shapes import SCALARS, class_of, classes, is_closed, is_typed_dict, members, remember
from fanwood.errors import DeclarationError, InputValidationError, PayloadEncodingError, PayloadError

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

logger = logs.logger("fanwood")


def _to_raw(value: Any) -> Any:
    cls = class_of(value)
    if is_open(cls):
        return value.model_dump()
    return msgspec.Raw(codec_for(cls).written(value)) if is_pydantic(cls) else unsubclassed(value)


def _from_json(hint: Any, value: Any) -> Any:
    if is_pydantic(hint):
        return codec_for(hint).decode(_encode(value))
    return from_python(hint, value)


_encode = msgspec.json.Encoder(enc_hook=_to_raw).encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode
_MOST_DIGITS = 4300  # of a number that can be read


class Codec(Generic[T]):
    """Values of one declared type, to canonical JSON text and back. This base is the one for undeclared types.

    `root` tells inputs from outputs: an input must fit the declared type, an output (`root="output"`) that is some
    other JSON value or model is written as it is; and where an input is refused that would come back as something else,
    an output is only warned of.
    """

    orderly = False
    """Whether every value of the type is written in one way by one call of its serializer."""

    _shapes: Sequence[type[Any]] = ()
    """The TypedDicts in it, which may be given with more keys than they have."""

    def __init__(self, declared: Any = Any) -> None:
        self.declared = declared

    def encode(self, value: object, subject: str = "value", root: str = "input") -> bytes:
        try:
            if type(value) in SCALARS or is_plain(value):
                return _encode(value)
        except Exception:  # noqa: BLE001, S110  (told below, with its place)
            pass
        return self._encode_carefully(value, subject, root)

    def canonical(self, data: bytes) -> bytes:
        """What `encode` gave, with sorted keys: equal values have equal bytes. (Stored is the order that was given.)"""
        return data if self.orderly or b"{" not in data else _encode_sorted(_decode(data))

    def decode(self, data: bytes | str, subject: str = "value") -> T:
        if len(data) > 2 * MAX_DEPTH and is_too_deep(data):
            raise PayloadEncodingError(subject, "its JSON text", TOO_DEEP, verb="decoded")
        try:
            return self._parse(data)
        except Exception as exc:
            raise self._undecodable(data, subject, exc) from exc

    def validate(self, value: object, subject: str) -> T:  # noqa: ARG002  (any value will do here)
        """A value that a caller gives for this type, checked; None stands for an object without fields."""
        return cast("T", value)

    def _taken(self, value: object, subject: str) -> T:
        """What is stored of a value that is given. A key that a TypedDict does not have would be lost on the way."""
        taken = self.validate(value, subject)
        if self._shapes and (lost := dropped(value, taken)):
            names = ", ".join(shape.__name__ for shape in self._shapes)
            raise InputValidationError(subject, [(place, f"there is no such key in {names}") for place in lost])
        return taken

    def schema(self) -> dict[str, object] | None:
        """The type as JSON Schema, where there is one: without, a form can't help, and the JSON is typed by hand."""
        try:
            return self._schema()
        except Exception:  # noqa: BLE001  (types without a schema, and the user's own hooks)
            return None

    def dump(self, value: Any) -> Any:
        """The value in JSON's own types, its sets as lists in their order of iteration."""
        return dump(value)

    def written(self, value: Any) -> bytes:
        """A value of the type as a part of another one, which is compared as a whole."""
        return self._write(value)

    def _parse(self, data: bytes | str, /) -> T:
        return _decode(data)

    def _undecodable(self, data: bytes | str, subject: str, exc: Exception) -> PayloadError:  # noqa: ARG002  (the typed codec looks again)
        return invalid(subject, exc)

    def _schema(self) -> dict[str, object] | None:
        return None

    def _encode_carefully(self, value: Any, subject: str, root: str) -> bytes:
        trail = Trail()
        try:
            check(value, self.declared, trail)
            data = self._write_sorted(value) if trail.unordered else self._write(value)
            if root == "output":
                self._confirm_output(value, data, subject)
            else:
                self._confirm(value, data, subject, root)
            return data
        except PayloadError:
            raise
        except FaultError as fault:
            raise PayloadEncodingError(subject, path(fault.steps, root), fault.reason) from None
        except Exception as exc:
            place = path(locate(value, self.declared), root)
            raise PayloadEncodingError(subject, place, problems(exc)[0][1]) from exc

    def _confirm(self, value: Any, data: bytes, subject: str, root: str) -> None:
        """Read what was written: what doesn't come back as it is, is refused while its caller is there to be told."""

    def _confirm_output(self, value: Any, data: bytes, subject: str) -> None:
        """The work is done, and isn't lost for it: it is only said."""
        try:
            self._confirm(value, data, subject, "output")
        except Exception as exc:  # noqa: BLE001  (comparing is the user's code)
            place = path(exc.steps, "output") if isinstance(exc, FaultError) else "output"
            reason = exc.reason if isinstance(exc, FaultError) else exc
            with contextlib.suppress(Exception):  # of the user's handlers
                logger.warning("%s does not come back as it is, and is stored so: %s: %s", subject, place, reason)

    def _write(self, value: Any) -> bytes:
        try:
            return _encode(value)
        except TypeError:  # a subclass of str or int as a key
            return self._write_sorted(value)

    def _write_sorted(self, value: Any) -> bytes:
        return _encode(align(value, self.dump(value)))


class _TypedCodec(Codec[T]):
    """A dataclass, TypedDict, Struct, or anything else that msgspec knows."""

    def __init__(self, declared: Any) -> None:
        super().__init__(declared)
        self._shapes = shapes(declared)
        self._has_fields = members(declared) is not None
        self._keys = frozenset(member.key for member in members(declared) or ())
        is_class = isinstance(declared, type) and not is_typed_dict(declared)
        self._trusted: type | None = declared if self._has_fields and is_class else None
        self._scalar = next((cls for cls in SCALARS if cls is declared), None)
        self.orderly = is_closed(declared)
        self._parse = msgspec.json.Decoder(declared, dec_hook=_from_json).decode

    def encode(self, value: object, subject: str = "value", root: str = "input") -> bytes:
        if type(value) is self._scalar and (not isinstance(value, str) or value.isascii()):
            try:
                return _encode(value)
            except ValueError:  # a number of too many digits: told below
                pass
        fits = self._trusted is not None and isinstance(value, self._trusted)
        if not fits and root != "output":
            value, fits = self._taken(value, subject), True
        try:
            if fits and self.orderly:
                data = _encode(value)
                if is_same(self._parse(data), value):
                    return data
            elif type(value) in SCALARS or (is_plain(value) and (fits or self._keeps(value))):
                return _encode(value)
        except Exception:  # noqa: BLE001, S110  (told below, with its place)
            pass
        return self._encode_carefully(value, subject, root)

    def _keeps(self, value: Any) -> bool:
        """Whether plain JSON that nobody has validated has no keys that would be passed over when it is read."""
        return not self._shapes or (self._shapes == [self.declared] and self._keys.issuperset(value))

    def validate(self, value: object, subject: str) -> T:
        given: Any = {} if value is None and self._has_fields else value
        try:
            return self._convert(given)
        except RecursionError as exc:
            self._encode_carefully(value, subject, "input")
            raise invalid(subject, exc) from exc
        except Exception as exc:
            found = all_problems(given, self.declared) or problems(exc)
            is_nothing = isinstance(given, dict) and not given
            raise InputValidationError(subject, said_of_none(found) if is_nothing else found) from exc

    def _convert(self, given: Any) -> T:
        try:
            return msgspec.convert(given, self.declared, dec_hook=from_python)
        except msgspec.ValidationError:
            plain = without_enums(given)  # msgspec takes their values only
            if plain is given:
                raise
            return msgspec.convert(plain, self.declared, dec_hook=from_python)

    def _confirm(self, value: Any, data: bytes, subject: str, root: str) -> None:
        fits = root != "output" or (self._trusted is not None and isinstance(value, self._trusted))
        try:
            back: Any = self._parse(data)
        except Exception as exc:
            if fits:
                raise self._undecodable(data, subject, exc) from exc
            return  # it is read as plain JSON
        compare(value, back, self.declared, strict=fits)

    def _schema(self) -> dict[str, object] | None:
        shared: dict[str, Any] = {}

        def of_model(cls: Any) -> dict[str, Any]:
            inner = codec_for(cls).schema() or {}
            shared.update(cast("dict[str, Any]", inner.pop("$defs", {})))
            return inner

        found = msgspec.json.schema(self.declared, schema_hook=of_model)
        return {**found, "$defs": {**found.get("$defs", {}), **shared}} if shared else found

    def _undecodable(self, data: bytes | str, subject: str, exc: Exception) -> PayloadError:
        try:
            return InputValidationError(subject, all_problems(_decode(data), self.declared) or problems(exc))
        except (msgspec.MsgspecError, ValueError, RecursionError):  # no JSON at all
            return invalid(subject, exc)


class _ModelCodec(Codec[T]):
    """A pydantic model or dataclass, or (by a TypeAdapter) a union of such."""

    def __init__(self, declared: Any, machinery: Machinery, adapter: Any = None) -> None:
        super().__init__(declared)
        self._cls: type | None = declared if adapter is None else None
        self._adapter = adapter
        self._shapes = [] if adapter is None else shapes(declared)
        self._has_fields = adapter is None and not getattr(declared, "__pydantic_root_model__", False)
        self._has_floats = machinery.has_floats
        self._from_python = machinery.from_python
        self._to_json = machinery.to_json
        self._simple = machinery.simple if adapter is None else None
        self.dump = machinery.to_python
        self._core = machinery.core
        self._exact = "union" in machinery.kinds
        self.orderly = machinery.orderly
        self._parse = machinery.from_json

    def encode(self, value: object, subject: str = "value", root: str = "input") -> bytes:
        if type(value) is self._cls and self._simple is not None:
            data = self._encode_simple(value, self._simple)
            if data is not None:
                return data
        if self._cls is None or not isinstance(value, self._cls):
            if root == "output":
                return self._encode_output(value, subject)
            value = self._taken(value, subject)
        if self.orderly:
            try:
                data = self._to_json(value, round_trip=True, by_alias=False, warnings=False)
                endless = self._has_floats and (b"NaN" in data or b"Infinity" in data)
                back = self._parse(data)
                same = not endless and is_same(back, value)
                if same and self._to_json(back, round_trip=True, by_alias=False, warnings=False) == data:
                    return data
            except Exception:  # noqa: BLE001, S110  (told below, with its place)
                pass
        return self._encode_carefully(value, subject, root)

    def _encode_simple(self, value: object, fields: tuple[tuple[str, frozenset[type]], ...]) -> bytes | None:
        """The short way of most models: what has just the fields, of just their classes, needs no reading back."""
        held = value.__dict__
        if len(held) != len(fields):
            return None
        try:
            for name, classes in fields:
                if type(held[name]) not in classes:
                    return None
            data = self._to_json(value)
            return data if len(data) <= _MOST_DIGITS else None
        except Exception:  # noqa: BLE001  (told by the careful way, with its place)
            return None

    def _encode_output(self, value: object, subject: str) -> bytes:
        """An output of another type than declared; what the declared type can't write is written as it is."""
        try:
            fits = self._adapter is not None and self._to_json(value, round_trip=True, warnings="error") != b""
        except Exception:  # noqa: BLE001  (it is something else)
            fits = False
        return self._encode_carefully(value, subject, "output") if fits else _UNTYPED.encode(value, subject, "output")

    def _confirm(self, value: Any, data: bytes, subject: str, root: str) -> None:  # noqa: ARG002  (it fits: asked before)
        try:
            back = self._parse(data)
        except Exception as exc:
            raise self._undecodable(data, subject, exc) from exc
        compare(value, back, self.declared, strict=True, exact=self._exact)

    def validate(self, value: object, subject: str) -> T:
        if self._cls is not None and isinstance(value, self._cls):
            return cast("T", value)
        try:
            return self._from_python({} if value is None and self._has_fields else value)
        except Exception as exc:
            if found := said_of_namesake(value, self.declared):
                raise InputValidationError(subject, found) from exc
            raise invalid(subject, exc) from exc

    def _taken(self, value: object, subject: str) -> T:
        """(A dict that fits a model goes for the model with pydantic, also where a plain dict is an alternative.)"""
        taken, cls = super()._taken(value, subject), class_of(value)
        named = [named for named, _ in classes(self.declared)] if self._cls is None else []
        if len(named) > 1 and cls in named and class_of(taken) is not cls:
            reason = f"a {cls.__name__} that would be taken for a {class_of(taken).__name__}: pass one"
            raise InputValidationError(subject, [("", reason)])
        return taken

    def _schema(self) -> dict[str, object] | None:
        import pydantic.json_schema  # noqa: PLC0415  (not required)

        return pydantic.json_schema.GenerateJsonSchema().generate(self._core)

    def _write(self, value: Any) -> bytes:
        try:
            data = self._to_json(value, round_trip=True, by_alias=False, warnings="error")
        except Exception:  # noqa: BLE001  (fields set without validation, or a union that pydantic is unsure of)
            value = self.decode(self._to_json(value, round_trip=True, by_alias=False, warnings=False))
            data = self._to_json(value, round_trip=True, by_alias=False, warnings=False)
        if self.orderly:
            return data
        dumped = self.dump(value)
        check(dumped, Any, Trail())
        return _encode(align(value, dumped))

    def _write_sorted(self, value: Any) -> bytes:
        return self._write(value)  # the serializer knows better than the value whether there is anything to sort


class _OpenCodec(Codec[T]):
    """Of `EmptyModel`: whatever fields there are, as plain JSON."""

    def __init__(self, declared: Any) -> None:
        super().__init__(declared)
        self._cls: Any = declared

    def encode(self, value: Any, subject: str = "value", root: str = "input") -> bytes:
        if isinstance(value, EmptyModel):
            if type(value) is not self._cls:
                raise PayloadEncodingError(
                    subject, root, f"{shown(value)} is not of the declared class {self._cls.__name__}"
                )
            value = value.model_dump()
        elif root != "output":
            value = cast("Any", self.validate(value, subject)).model_dump()
        return super().encode(value, subject, root)

    def validate(self, value: object, subject: str) -> T:
        if type(value) is self._cls:
            return cast("T", value)
        if value is not None and not isinstance(value, dict):
            raise InputValidationError(subject, [("", f"an object with fields is expected, and not {shown(value)}")])
        fields = cast("dict[Any, Any]", value or {})
        for name in fields:
            if not isinstance(name, str):
                raise InputValidationError(subject, [("", f"names of fields are text, and not {shown(name)}")])
        return self._cls(**fields)

    def _parse(self, data: bytes | str, /) -> T:
        found = _decode(data)
        if not isinstance(found, dict):
            raise msgspec.ValidationError("Expected `object`")
        return self._cls(**found)

    def _schema(self) -> dict[str, object]:
        return {"title": self._cls.__name__, "type": "object"}


_UNTYPED: Codec[Any] = Codec()


@remember
def codec_for(declared: Any) -> Codec[Any]:
    """The codec of an annotation; Any, None or no annotation at all mean any JSON value.

    Raises:
        DeclarationError: values of that type can't travel.
    """
    if declared in (Any, None, NoneType, inspect.Parameter.empty, object, Never, NoReturn):
        return _UNTYPED
    try:
        refuse_what_is_no_type(declared)
        if is_open(declared):
            return _OpenCodec(declared)
        if is_pydantic(declared):
            return _ModelCodec(declared, machinery_of(declared))
        if not is_foreign(declared):
            try:
                codec = _TypedCodec[Any](declared)
                refuse_unknown(declared)
            except (TypeError, RecursionError):  # msgspec has no unions of models, nor paths, nor aliases of themselves
                pass
            else:
                return codec
        return _adapted(declared)
    except Exception as exc:
        raise DeclarationError(f"values of type {declared!r} can't travel as JSON: {reason_of(exc)}") from exc


def _adapted(declared: Any) -> Codec[Any]:
    """By pydantic, if it is there: it knows more types than msgspec, and its own constraints, wherever they stand."""
    refuse_structs(declared)
    try:
        import pydantic  # noqa: PLC0415  (not required, and not imported unless it must be)
    except ImportError:
        raise TypeError("msgspec does not know it, or its constraints; pydantic might, and is not installed") from None
    with warnings.catch_warnings():  # as may stop a program (-W error), and is nothing that would matter here
        warnings.filterwarnings("ignore", message=".*`ReadOnly` qualifier")
        adapter: Any = pydantic.TypeAdapter(declared)
    machinery = assemble(adapter.validator, adapter.serializer, adapter.core_schema)
    refuse_unreadable(machinery)
    codec = _ModelCodec[Any](declared, machinery, adapter)
    for enum in enums(declared):
        for member in enum:
            codec_of_enum = codec if enum is declared else codec_for(enum)
            codec_of_enum.encode(member, f"{enum.__name__}.{member.name}")
    return codec
