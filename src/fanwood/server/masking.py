"""What is for nobody's eyes: values under keys such as `password`, in payloads and their beginnings, errors, logs.

Every answer passes through `shown`, whoever made it.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, cast, get_args, get_type_hints

import msgspec

MASK = "(masked)"
_WORDS = {
    "password", "passwd", "pwd", "passphrase", "passcode", "secret", "secrets", "token", "authorization", "credential",
    "credentials", "cookie", "cookies", "apikey", "bearer", "privatekey",
}  # fmt: skip
_PAIRS = {("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key"), ("signing", "key")}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NAME = re.compile(r"""(?<![\w.-])([A-Za-z][\w.-]{0,200})\\?["']?\s{0,8}[:=]\s{0,8}\\?""")
_VALUE = re.compile(
    r"""(?:Bearer|Basic)\s+\S+|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[\[{][\s\S]*|[^\s,;&)}\]]+""", re.IGNORECASE
)
_BRACKETS = re.compile(r""""(?:[^"\\]|\\.)*"?|[\[\]{}]""")
_IN_URL = re.compile(r"(?<=://)([^\s/:@]{0,200}):([^\s/@]{1,200})@")

_TEXTS = {"message", "traceback", "text", "detail"}
_PREVIEW = "preview"
_DATA = {"facts", "metadata"}
"""JSON as it is: of what somebody waits for, and of roots that an action is about."""


def is_secret(key: str) -> bool:
    """Whether what is called so is for nobody's eyes."""
    words = [word.lower() for word in _WORD.findall(key)]
    return not _WORDS.isdisjoint(words) or not _PAIRS.isdisjoint(pairwise(words))


class Secret(NamedTuple):
    """Where a text has a secret, and what is told instead. `name`: where its name begins."""

    name: int
    start: int
    end: int
    mask: str
    is_number: bool = False  # none: how many tokens is no secret


def secrets_in(text: str, *, balanced: bool = False) -> list[Secret]:
    """What is named as a secret in a text, perhaps cut off; and passwords in addresses. `balanced`: an object or a list
    ends with its last bracket, and not with the text."""
    found: list[Secret] = []
    at = 0
    while name := _NAME.search(text, at):
        at = name.end()
        value = _VALUE.match(text, at) if is_secret(name[1]) else None
        if value is None:
            continue
        if value[0].replace(".", "").isdecimal():
            found.append(Secret(name.start(), at, value.end(), "", is_number=True))
            continue
        end = _closed(text, at) if balanced and value[0][0] in "[{" else value.end()
        found.append(Secret(name.start(), at, end, f'"{MASK}"' if value[0][0] == '"' else MASK))
        at = end
    taken, next_ = [one for one in found if not one.is_number], 0
    for place in _IN_URL.finditer(text):  # (both in order: a text may have very many of either)
        start, end = place.span(2)
        while next_ < len(taken) and taken[next_].end <= start:
            next_ += 1
        if next_ == len(taken) or taken[next_].start >= end:
            found.append(Secret(place.start(), start, end, MASK))
    return sorted(found, key=lambda one: one.start)


def _closed(text: str, start: int) -> int:
    """Where what opens here closes."""
    depth = 0
    for part in _BRACKETS.finditer(text, start):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(part[0], 0)
        if not depth:
            return part.end()
    return len(text)


def masked_text(text: str) -> str:
    """A text, perhaps cut off, without what is named as a secret in it."""
    parts: list[str] = []
    done = 0
    for one in secrets_in(text):
        if not one.is_number and one.start >= done:
            parts += [text[done : one.start], one.mask]
            done = one.end
    return "".join([*parts, text[done:]])


def masked_json(text: str, *, texts: bool = False) -> str:
    """A payload without its secrets; as it stands if there are none. `texts`: look into its texts as well."""
    try:
        value = msgspec.json.decode(text)
        hidden = _masked(value, texts=texts)
    except (msgspec.DecodeError, RecursionError):  # somebody wrote it by hand, or it is deep beyond measure
        return masked_text(text)
    return text if hidden is value else msgspec.json.encode(hidden).decode()


def _masked(value: Any, *, texts: bool) -> Any:
    """The same object, if there is nothing to hide in it."""
    if isinstance(value, dict):
        object_ = cast("dict[str, Any]", value)
        new = {
            key: MASK if is_secret(key) and inner is not None else _masked(inner, texts=texts)
            for key, inner in object_.items()
        }
        return new if any(new[key] is not inner for key, inner in object_.items()) else object_
    if isinstance(value, list):
        list_ = cast("list[Any]", value)
        seen = [_masked(inner, texts=texts) for inner in list_]
        return seen if any(a is not b for a, b in zip(seen, list_, strict=True)) else list_
    if texts and isinstance(value, str):
        hidden = masked_text(value)
        return value if hidden == value else hidden
    return value


# --- views -----------------------------------------------------------------------------------------------------------


def shown(view: Any, *, payloads: bool) -> Any:
    """A view as it may be seen; without previews, if payloads may not."""
    if isinstance(view, msgspec.Struct):
        changed: dict[str, Any] = {}
        for name in _fields(type(view)):
            old = getattr(view, name)
            new = (
                ("" if not payloads else masked_text(old)) if name == _PREVIEW else _seen(name, old, payloads=payloads)
            )
            if new is not old:
                changed[name] = new
        return msgspec.structs.replace(view, **changed) if changed else view
    if isinstance(view, (tuple, list)):
        parts = cast("tuple[Any, ...]", view)
        return type(parts)(shown(part, payloads=payloads) for part in parts)
    if isinstance(view, dict):
        return {key: shown(part, payloads=payloads) for key, part in cast("dict[str, Any]", view).items()}
    return view


def _seen(name: str, old: Any, *, payloads: bool) -> Any:
    if name in _DATA:
        return None if name == "metadata" and not payloads else _masked(old, texts=True)
    if name in _TEXTS:
        return masked_text(old) if isinstance(old, str) else old
    return shown(old, payloads=payloads)


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Those in which there may be something to hide."""
    hints = get_type_hints(kind)
    return tuple(
        name
        for name, hint in hints.items()
        if name in _TEXTS
        or name in _DATA
        or name == _PREVIEW
        or any(_fields(each) for each in _structs(hint) if each is not kind)
    )


def _structs(hint: Any) -> list[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [found for inner in get_args(hint) for found in _structs(inner)]
