"""What an annotation means: its alternatives, its fields, its parts, and whether msgspec writes it in one way only."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from fanwood.codec.empty import is_open
from fanwood.codec.models import is_pydantic, machinery_of

F = TypeVar("F", bound=Callable[..., Any])

SCALARS = frozenset({str, int, bool, NoneType})
_WRITTEN_IN_ONE_WAY = (float, Decimal, bytes, Enum, date, time, timedelta, UUID)


@dataclasses.dataclass(frozen=True)
class Member:
    """A field: of a model, dataclass, Struct or TypedDict."""

    name: str
    key: str
    hint: Any
    required: bool


def remember(function: F) -> F:
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


def class_of(value: object) -> type[Any]:
    return type(value)


def is_typed_dict(hint: object) -> bool:
    """Also one of `typing_extensions`, which `typing.is_typeddict` does not know before Python 3.12."""
    return class_of(hint).__name__ == "_TypedDictMeta"


def class_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


@remember
def arms(hint: Any) -> tuple[Any, ...]:
    """The plain alternatives of an annotation: Union, Annotated, NewType, Required, `type X = ...` taken off."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return tuple(arm for part in get_args(hint) for arm in arms(part))
    if origin is Annotated or getattr(origin, "_name", "") in ("Required", "NotRequired", "ReadOnly", "Final"):
        return arms(get_args(hint)[0])
    if isinstance(hint, TypeVar):
        return (Any,)
    if origin is not None and hasattr(origin, "__value__"):  # an alias with type variables of its own
        return arms(_with(origin.__value__, dict(zip(origin.__type_params__, get_args(hint), strict=False))))
    inner = getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)
    return (hint,) if inner is None or isinstance(hint, type) else arms(inner)


def classes(hint: Any) -> list[tuple[type[Any], tuple[Any, ...]]]:
    """The alternatives that are classes, each with its arguments: `list[int] | None` is list of int, and NoneType."""
    found = [(get_origin(arm) or arm, get_args(arm)) for arm in arms(hint)]
    return [(origin, args) for origin, args in found if isinstance(origin, type)]


def parts(hint: Any, base: type) -> list[tuple[Any, ...]]:
    """The arguments of those alternatives that are a `base`."""
    return [args for cls, args in classes(hint) if issubclass(cls, base)]


def child(options: list[tuple[Any, ...]], index: int) -> Any:
    """The annotation of what stands at an index of `parts`."""
    return _any_of([args[index] if len(args) > index else Any for args in options])


def _any_of(hints: list[Any]) -> Any:
    return Union[tuple(hints)] if hints else Any  # noqa: UP007  (made of a tuple)


def is_declared(value: object, hint: Any) -> bool:
    """Whether an annotation names the value's class, or one above it; Any and object name none."""
    named = [cls for cls, _ in classes(hint) if cls not in (Any, object) and not is_typed_dict(cls)]
    return any(isinstance(value, cls) for cls in named)


def has_own_schema(hint: Any) -> bool:
    """Whether pydantic asks a class what its values are, which may be of other classes, as those of IPvAnyAddress."""
    return any(hasattr(cls, "__get_pydantic_core_schema__") and not is_pydantic(cls) for cls, _ in classes(hint))


@remember
def members(hint: Any) -> tuple[Member, ...] | None:
    """The fields of a model, dataclass, Struct or TypedDict; None for any other type."""
    cls: Any = hint if isinstance(hint, type) else get_origin(hint)
    return _members_of(cast("Any", cls)) if isinstance(cls, type) else None


@remember
def _positions(cls: type[Any]) -> tuple[Any, ...]:
    """The annotations of a NamedTuple's parts; of any other class, none."""
    names = cast("tuple[str, ...]", getattr(cls, "_fields", ()))
    hints = _hints(cast("type", cls)) if names and issubclass(cls, tuple) else {}
    return tuple(hints.get(name, Any) for name in names) if hints else ()


def layouts(cls: type[Any], hint: Any) -> list[tuple[Any, ...]]:
    """What an annotation says of the parts of a list, tuple or deque of that class: of each alternative, its arguments;
    of a NamedTuple that it names, the annotations of its parts."""
    found = [args for base in (list, tuple, deque) for args in parts(hint, base)] or parts(hint, Iterable)
    if positions := _positions(cls) if len(found) == 1 or any(named is cls for named, _ in classes(hint)) else ():
        meant = _meant(cls, hint)
        return [tuple(_with(part, meant) for part in positions)]
    return found


def item_of(options: list[tuple[Any, ...]], index: int, length: int) -> Any:
    """The annotation of what stands at an index of a sequence."""
    fixed = [len(args) == length and ... not in args for args in options]
    return _any_of([child([args], index if own else 0) for args, own in zip(options, fixed, strict=True)])


def members_as(cls: type[Any], hint: Any) -> tuple[Member, ...]:
    """The fields of a class, as an annotation of it has them: those of `Box[int]` have no type variables."""
    found, meant = members(cls) or (), _meant(cls, hint)
    return tuple(dataclasses.replace(member, hint=_with(member.hint, meant)) for member in found) if meant else found


def _meant(cls: type[Any], hint: Any) -> dict[Any, Any]:
    """What an annotation puts in the places of a class's type variables."""
    variables = getattr(cls, "__parameters__", ())
    for origin, args in classes(hint) if variables else ():
        if origin is cls and len(args) == len(variables):
            return dict(zip(variables, args, strict=True))
    return {}


def _with(hint: Any, meant: dict[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return meant.get(hint, hint)
    variables = getattr(hint, "__parameters__", ())
    return hint[tuple(meant.get(each, each) for each in variables)] if variables else hint


def _members_of(cls: type[Any]) -> tuple[Member, ...] | None:
    if is_open(cls):
        return ()
    if is_pydantic(cls):
        fields = cast("dict[str, Any]", getattr(cls, "__pydantic_fields__", {}))
        return tuple(Member(name, name, field.annotation, field.is_required()) for name, field in fields.items())
    if issubclass(cls, msgspec.Struct):
        return tuple(Member(f.name, f.encode_name, f.type, f.required) for f in msgspec.structs.fields(cls))
    if is_typed_dict(cls):
        needed = cast("Iterable[str]", getattr(cls, "__required_keys__", ()))
        return tuple(Member(name, name, hint, name in needed) for name, hint in _hints(cls).items())
    if dataclasses.is_dataclass(cls):
        none, hints = dataclasses.MISSING, _hints(cls)
        return tuple(
            Member(f.name, f.name, hints.get(f.name, Any), f.default is none and f.default_factory is none)
            for f in dataclasses.fields(cls)
        )
    return None


def _hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except Exception:  # noqa: BLE001  (a name that only a type checker can see; the fields then count as undeclared)
        return dict.fromkeys(inspect.get_annotations(cls), Any)


def is_sparse(cls: type[Any]) -> bool:
    """Whether msgspec makes instances whose defaults are only the class's, and then doesn't write them."""
    if not dataclasses.is_dataclass(cls) or cls.__dictoffset__ == 0:
        return False
    return any(field.default is not dataclasses.MISSING for field in dataclasses.fields(cls))


def is_closed(hint: Any, above: tuple[Any, ...] = ()) -> bool:
    """Whether msgspec writes all values of the type in one way, losing nothing: no Any, set, dict or recursion."""
    return all(_is_closed_arm(arm, above) for arm in arms(hint))


def _is_closed_arm(arm: Any, above: tuple[Any, ...]) -> bool:
    cls, args = get_origin(arm) or arm, get_args(arm)
    if arm in above or not isinstance(cls, type) or is_open(cls):
        return False
    if cls in (list, tuple):
        return bool(args) and all(part is ... or is_closed(part, (*above, arm)) for part in args)
    if is_pydantic(cls):
        return machinery_of(cls).orderly
    if is_typed_dict(cls) or is_sparse(cls):
        return False
    fields = members(arm)
    if fields is None:
        return cls in SCALARS or issubclass(cls, _WRITTEN_IN_ONE_WAY)
    return all(is_closed(field.hint, (*above, arm)) for field in fields)
