"""The fields of classes, resolved as a function's annotations are.

Where a class is written in a function, or names what only type checkers import, nobody who reads the class alone finds
what is meant.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Annotated, Any, ForwardRef, Literal, Protocol, cast, get_args, get_origin

from fanwood.codec.models import is_pydantic
from fanwood.codec.shapes import is_typed_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_NAMES = 50


class Names(Protocol):
    """Both raise NameError."""

    def of_class(self, annotation: Any, cls: Any, *, around: bool) -> Any:
        """What an annotation of a class means in its module; if `around`, also by what is around the declaration."""

    def of_module(self, module: str, name: str) -> Any:
        """What a name means around the declaration, if it is in that module, or to type checkers there."""


def settle(hint: Any, names: Names) -> None:
    """Write what is meant into the classes of an annotation, where their own modules don't have it. What can't be found
    is left, for whoever needs it to say so."""
    seen: dict[int, Any] = {}
    todo = [hint]
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, (str, ForwardRef)):
            continue
        seen[id(each)] = each  # kept, or another one could get its id
        origin = get_origin(each)
        if origin is not Literal:
            todo += get_args(each)[: 1 if origin is Annotated else None]
        if (inner := getattr(each, "__supertype__", None)) is not None:
            todo.append(inner)
        if origin is not None:
            todo.append(origin)
        elif isinstance(each, type):
            todo += _of_class(each, names)


def _of_class(cls: Any, names: Names) -> list[Any]:
    if is_pydantic(cls):
        _rebuild(cls, names)
    if is_pydantic(cls) and not hasattr(cls, "__dataclass_fields__"):
        return [field.annotation for field in cls.__pydantic_fields__.values()]
    marks = ("__dataclass_fields__", "_fields", "__struct_fields__")
    if not is_typed_dict(cls) and not any(hasattr(cls, mark) for mark in marks):
        return []
    return [meant for base in cls.__mro__ for meant in _of_annotations(base, names)]


def _of_annotations(cls: Any, names: Names) -> Iterator[Any]:
    written = inspect.get_annotations(cls)
    own: dict[str, Any] = cls.__dict__
    for name, annotation in written.items():
        try:
            meant = names.of_class(annotation, cls, around=False)
        except NameError:
            try:
                meant = names.of_class(annotation, cls, around=True)
            except Exception:  # noqa: BLE001, S112  (told by who reads the class)
                continue
            cls.__annotations__[name] = meant
            if (field := own.get("__dataclass_fields__", {}).get(name)) is not None:
                field.type = meant
        except Exception:  # noqa: BLE001, S112  (as above)
            continue
        yield meant


def _rebuild(cls: Any, names: Names) -> None:
    """What pydantic could not find when the class was made it is given now."""
    if getattr(cls, "__pydantic_complete__", True):
        return
    import pydantic.dataclasses  # noqa: PLC0415  (not required)

    given: dict[str, Any] = {}
    for _ in range(_MOST_NAMES):
        try:
            if hasattr(cls, "model_rebuild"):
                cls.model_rebuild(_types_namespace={**vars(sys.modules[cls.__module__]), **given})
            else:
                pydantic.dataclasses.rebuild_dataclass(cls, _types_namespace=given)
            return
        except pydantic.errors.PydanticUndefinedAnnotation as error:
            try:
                given[cast("str", error.name)] = names.of_module(cls.__module__, cast("str", error.name))
            except NameError:
                return
        except Exception:  # noqa: BLE001  (as above)
            return
