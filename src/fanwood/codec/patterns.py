"""Whether a text fits a pattern, in a bounded time.

Python's own way of matching tries one alternative after the other, and takes for ever with some patterns (`(a+)+$`);
nor can it be stopped. Who gives the text may be anybody. So all ways through the pattern are gone at once, a character
at a time: that takes at most the length of the one by that of the other. What can't be gone so (what looks ahead, or
back at a group), and what other libraries read in another way, is not judged.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LONGEST = 1_000
"""Characters of a pattern, and places in it: each of `x{3}` is one."""
PARTS = 4
"""Of a set: to look at so many takes as long as a step."""
_AMBIGUOUS = ("[[", "--", "&&", "~~", "||", r"\<", r"\>", r"\b{")
"""Sets of sets, in other libraries' patterns, and where words begin and end."""
_ASCII = {
    "DIGIT": re.compile(r"\d", re.ASCII),
    "SPACE": re.compile(r"\s", re.ASCII),
    "WORD": re.compile(r"\w", re.ASCII),
}
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")


class _Unknown(Exception):  # noqa: N818  (of this file)
    """That can't be judged."""


class Steps:
    """How many may be taken, in all that is looked at together."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _Unknown


def fits(pattern: str, text: str, steps: Steps) -> bool | None:
    """Whether there is something in the text that the pattern describes, as `re.search` would find it. None: that can't
    be said, or not with so many steps."""
    places = _places(pattern)
    if places is None:
        return None
    try:
        return _found(places, text, steps)
    except _Unknown:
        return None


Place = tuple[str, Any, tuple[int, ...]]
"""One place of a pattern: what stands there ("one" character; "at" somewhere; "by" this way or that; the "end"), and
the places after it."""


def _found(places: list[Place], text: str, steps: Steps) -> bool:
    now = set[int]()
    for at in range(len(text) + 1):
        now.add(0)
        reached = _reached(places, now, text, at, steps)
        if reached is None:
            return True
        if at < len(text):
            now = {next_ for place in reached if places[place][1](text[at]) for next_ in places[place][2]}
    return False


def _reached(places: list[Place], now: set[int], text: str, at: int, steps: Steps) -> list[int] | None:
    """Which characters may come here; None: it has come to its end."""
    seen, left, reached = set(now), list(now), list[int]()
    while left:
        kind, what, after = places[place := left.pop()]
        steps.take(1 + len(after))
        if kind == "end":
            return None
        if kind == "one":
            steps.take(_parts_of(what) // PARTS)
            reached.append(place)
        elif kind == "by" or what(text, at):
            left += [each for each in after if each not in seen]
            seen.update(after)
    return reached


@lru_cache(maxsize=256)
def _places(pattern: str) -> list[Place] | None:
    if len(pattern) > LONGEST or any(each in pattern for each in _AMBIGUOUS):
        return None
    try:
        parsed: Any = import_module("re._parser").parse(pattern)
        if parsed.state.flags != re.UNICODE:
            return None
        made = _Made()
        made.begin(parsed)
    except (_Unknown, re.error, ArithmeticError, AttributeError, ImportError, RecursionError, ValueError):
        return None
    return made.places


class _Made:
    """Makes the places of a pattern, from its end."""

    def __init__(self) -> None:
        self.places: list[Place] = [("by", None, ()), ("end", None, ())]
        self._parts = 0  # that it was made of: one that is empty has no place, and may be repeated as well

    def begin(self, parsed: Any) -> None:
        """The first place leads to all of it."""
        self.places[0] = ("by", None, (self._all(parsed, 1),))

    def _add(self, kind: str, what: Any, *after: int) -> int:
        if len(self.places) > LONGEST:
            raise _Unknown
        self.places.append((kind, what, after))
        return len(self.places) - 1

    def _all(self, parsed: Iterable[Any], after: int) -> int:
        self._parts += 1
        if self._parts > LONGEST:
            raise _Unknown
        for operation, what in reversed(list(parsed)):
            after = self._one(str(operation), what, after)
        return after

    def _one(self, operation: str, what: Any, after: int) -> int:
        if operation == "SUBPATTERN":
            _, added, taken, inner = what
            if added or taken:
                raise _Unknown
            return self._all(inner, after)
        if operation == "BRANCH":
            return self._add("by", None, *[self._all(each, after) for each in what[1]])
        if operation in _REPEATS:
            least, most, inner = what
            return self._repeated(least, most, inner, after)
        if operation == "AT":
            return self._add("at", _at(str(what)), after)
        return self._add("one", _character(operation, what), after)

    def _repeated(self, least: int, most: Any, inner: Any, after: int) -> int:
        if str(most) == "MAXREPEAT":
            place = self._add("by", None)
            self.places[place] = ("by", None, (self._all(inner, place), after))
            after = place
        else:
            end = after
            for _ in range(int(most) - least):
                after = self._add("by", None, self._all(inner, after), end)
        for _ in range(least):
            after = self._all(inner, after)
        return after


def _character(operation: str, what: Any) -> Callable[[str], bool]:
    if operation == "ANY":
        return "\n".__ne__
    if operation == "LITERAL":
        return chr(what).__eq__
    if operation == "NOT_LITERAL":
        return chr(what).__ne__
    if operation != "IN":
        raise _Unknown
    parts = [(str(kind), value) for kind, value in what]
    if ("LITERAL", ord("[")) in parts:
        raise _Unknown
    negated = parts[0][0] == "NEGATE"
    return partial(_is_in, parts[1:] if negated else parts, negated)


def _parts_of(what: object) -> int:
    return len(what.args[0]) if isinstance(what, partial) else 0


def _is_in(parts: list[tuple[str, Any]], negated: bool, character: str) -> bool:  # noqa: FBT001  (bound once)
    return any(_is_of(kind, value, character) for kind, value in parts) != negated


def _is_of(kind: str, value: Any, character: str) -> bool:
    if kind == "LITERAL":
        return ord(character) == value
    if kind == "RANGE":
        return value[0] <= ord(character) <= value[1]
    if kind != "CATEGORY":
        raise _Unknown
    name = str(value).removeprefix("CATEGORY_")
    return _is_a(name.removeprefix("NOT_"), character) != name.startswith("NOT_")


def _is_a(category: str, character: str) -> bool:
    """Of letters that are not of ASCII each library has its own opinion; and whether these separators are spaces."""
    if not character.isascii() or category not in _ASCII or (category == "SPACE" and "\x1c" <= character <= "\x1f"):
        raise _Unknown
    return _ASCII[category].match(character) is not None


def _at(where: str) -> Callable[[str, int], bool]:
    if where not in _WHERE:
        raise _Unknown
    return _WHERE[where]


def _is_boundary(text: str, at: int) -> bool:
    before, after = (at > 0 and _is_a("WORD", text[at - 1])), (at < len(text) and _is_a("WORD", text[at]))
    return before != after


_WHERE: dict[str, Callable[[str, int], bool]] = {
    "AT_BEGINNING": lambda _, at: at == 0,
    "AT_BEGINNING_STRING": lambda _, at: at == 0,
    "AT_END": lambda text, at: at == len(text) or (at == len(text) - 1 and text[at] == "\n"),
    "AT_END_STRING": lambda text, at: at == len(text),
    "AT_BOUNDARY": _is_boundary,
    "AT_NON_BOUNDARY": lambda text, at: not _is_boundary(text, at),
}
