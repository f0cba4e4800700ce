"""Files with the same content, found by hash at the top of the tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

BUDGET = 2_000_000
"""How many characters of hashes and paths a folder passes on: a result must stay below the payload limit."""
OVERHEAD = 70
"""Characters of JSON around a path."""
SHOWN = 100
"""Groups that the survey returns, those that waste most first."""
PATHS = 20
"""Paths per group."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file by its content."""

    hash: str
    bytes: int
    path: str


@dataclass(frozen=True, slots=True)
class Copies:
    """Files with one content: how many, how large each, and the paths of the first few."""

    hash: str
    bytes: int
    count: int
    paths: list[str]


def heaviest(found: Iterable[Found]) -> list[Found]:
    """As many as may travel, the largest files first: their copies waste most. Empty files are no copies."""
    kept: list[Found] = []
    room = BUDGET
    for each in sorted(found, key=lambda each: (-each.bytes, each.path)):
        room -= len(each.path.encode()) + OVERHEAD
        if each.bytes == 0 or room < 0:
            break
        kept.append(each)
    return kept


def among(found: Iterable[Found]) -> list[Copies]:
    """The groups of two or more, those that waste most first."""
    groups: dict[tuple[str, int], list[str]] = {}
    for each in found:
        groups.setdefault((each.hash, each.bytes), []).append(each.path)
    copies = [
        Copies(hash_, size, len(paths), sorted(paths)[:PATHS])
        for (hash_, size), paths in groups.items()
        if len(paths) > 1
    ]
    return sorted(copies, key=lambda each: (-each.bytes * (each.count - 1), each.hash))[:SHOWN]
