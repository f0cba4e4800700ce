"""What is wrong with a value, in words: pairs of the place in it and what is the matter there."""

from __future__ import annotations

import re
import sys
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

import msgspec

from fanwood.codec.models import is_pydantic
from fanwood.codec.plain import from_python
from fanwood.codec.shapes import arms, child, class_of, classes, members, parts
from fanwood.errors import InputValidationError, PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterable

Problems = list[tuple[str, str]]


def path(steps: Iterable[object], start: str = "") -> str:
    for step in steps:
        name = isinstance(step, str) and step.isidentifier()
        start = _join(start, cast("str", step) if name else f"[{step!r}]")
    return start


def _join(start: str, place: str) -> str:
    return f"{start}.{place}" if start and place and not place.startswith("[") else start + place


def problems(exc: BaseException) -> Problems:
    """What an exception says; pydantic's says everything, msgspec's the first problem."""
    core = sys.modules.get("pydantic_core")
    if core is not None and isinstance(exc, core.ValidationError):
        errors: list[dict[str, Any]] = cast("Any", exc).errors(
            include_url=False, include_context=False, include_input=False
        )
        return [(path(error["loc"]), error["msg"]) for error in errors]
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001  (the user's own class)
        text = "(its message can't be shown)"
    if not isinstance(exc, msgspec.MsgspecError):
        return [("", f"{type(exc).__name__}: {text}")]
    found = re.fullmatch(r"(.*?)(?: - at (?:`key` in )?`\$\.?([^`]*)`)?", text, re.DOTALL)
    return [(found[2] or "", found[1])] if found else [("", text)]


def said_of_none(found: Problems) -> Problems:
    """An object without fields is what is taken if nothing was given: if it is no object that is expected, that."""
    return [(place, text if place else f"{text}, as if none was given: it needs one") for place, text in found]


def said_of_namesake(value: object, hint: Any) -> Problems:
    """An instance of a class that has been made anew since: to whoever reads the names it is the right one."""
    cls = class_of(value)
    name = (cls.__module__, cls.__qualname__)
    if not any((named.__module__, named.__qualname__) == name and named is not cls for named, _ in classes(hint)):
        return []
    said = f"this {cls.__qualname__} is not the one that was declared: the class was made anew since then"
    return [("", f"{said} (a notebook's cell, a reload). Execute the task's declaration again, too")]


def all_problems(value: Any, hint: Any, start: str = "") -> Problems:
    """As msgspec stops at the first problem: convert part by part, to tell all."""
    try:
        msgspec.convert(value, hint, dec_hook=from_python, str_keys=True)
    except Exception as exc:  # noqa: BLE001  (validators are the user's code, and may raise anything)
        own = said_of_namesake(value, hint) or problems((is_pydantic(hint) and exc.__cause__) or exc)
    else:
        return []
    return _problems_of_parts(value, hint, start) or [(_join(start, place), text) for place, text in own]


def _problems_of_parts(value: Any, hint: Any, start: str) -> Problems:
    options = [arm for arm in arms(hint) if arm is not NoneType]
    if len(options) != 1 or is_pydantic(options[0]):
        return []
    found: Problems = []
    if isinstance(value, dict):
        given = cast("dict[str, Any]", value)
        for member in members(options[0]) or ():
            place = path([member.key], start)
            if member.key in given:
                found += all_problems(given[member.key], member.hint, place)
            elif member.required:
                found.append((place, "is required"))
    elif isinstance(value, list) and (items := parts(options[0], list)):
        for index, item in enumerate(cast("list[Any]", value)):
            found += all_problems(item, child(items, 0), path([index], start))
    return found


def dropped(given: Any, taken: Any, start: str = "") -> list[str]:
    """The places in dicts that were given, at which nothing is in what was made of them."""
    if isinstance(given, dict) and isinstance(taken, dict):
        had, has = cast("dict[Any, Any]", given), cast("dict[Any, Any]", taken)
        found = [path([key], start) for key in had if key not in has] if len(has) < len(had) else []
        for key in had.keys() & has.keys():
            found += dropped(had[key], has[key], path([key], start))
        return found
    if isinstance(given, (list, tuple)) and isinstance(taken, (list, tuple)):
        pairs = enumerate(zip(cast("list[Any]", given), cast("list[Any]", taken), strict=False))
        return [place for index, (one, other) in pairs for place in dropped(one, other, path([index], start))]
    return []


def invalid(subject: str, exc: Exception) -> PayloadError:
    return exc if isinstance(exc, PayloadError) else InputValidationError(subject, problems(exc))
