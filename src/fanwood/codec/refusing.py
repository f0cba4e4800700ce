"""Why a type can't travel, and what to write in its place."""

from __future__ import annotations

import re
import sys
from typing import Any

from fanwood.codec.problems import problems
from fanwood.codec.shapes import class_of

_BASES = (str, int, float, list, dict, set, tuple)


def refuse_what_is_no_type(declared: Any) -> None:
    """Values in the place of types, and pydantic's base class, which has no fields.

    Raises:
        TypeError: it is one of those.
    """
    if (kind := class_of(declared)) in (list, tuple, dict, set, int, float, bytes):
        raise TypeError(f"it is a value of type {kind.__name__}, and no type: {_instead(declared, kind)}")
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and declared is getattr(pydantic, "BaseModel", None):
        raise TypeError("it is the base of all models, and has no fields: name the model that is meant")


def _instead(declared: Any, kind: type) -> str:
    if kind is dict:
        return "use a TypedDict, or a dataclass"
    if kind in (list, tuple, set) and declared:
        inner = [part.__name__ if isinstance(part, type) else repr(part) for part in declared]
        return f"write {kind.__name__}[{', '.join(inner)}]"
    return "use a class, or Literal"


def reason_of(exc: Exception) -> str:
    """What is said of it, in words of ours where pydantic's would not help."""
    reason = str(exc) if type(exc) in (TypeError, ValueError) else problems(exc)[0][1]
    reason = reason.partition("\n\nFor further information")[0]
    if "is not fully defined" in reason:
        return (
            "a name in it can't be found, or it refers to itself: use `type X = ...` (from Python 3.12 on), "
            "pydantic.JsonValue for any JSON, or Any"
        )
    found = re.match(r"(?:\w+: )?Unable to generate pydantic-core schema for (.*?)\. Set `", reason, re.DOTALL)
    if found is None:
        return reason
    return f"neither msgspec nor pydantic knows {found[1]}: {_advice(found[1])}"


def _advice(name: str) -> str:
    if "LiteralString" in name:
        return "use str"
    for base in _BASES:
        if name in _names_below(base):
            return f"use {base.__name__}, or a NewType of it"
    return "use a dataclass or a model of what is needed of it, or text"


def _names_below(base: type) -> set[str]:
    return {repr(cls) for cls in type.__subclasses__(base)}
