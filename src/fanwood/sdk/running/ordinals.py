"""How many equal children an attempt has asked for, by content, in little memory.

A parent of a million children must not hold a million digests in a dict: 106 MB. What was asked for once, long ago, and
not again, which is nearly all of it, is kept as eight bytes of its digest. Two contents that share these are taken for
one, and the second of them for a repetition: of a million children that happens once in a hundred million times, and
all that comes of it is a child which is done again, should the parent ask in another order when it is resumed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

EXACT = 16_384
"""So many contents are kept as they are, beside those that were asked for more than once."""
PARTS = 1024
"""Of fingerprints: a thousand in each, if there are a million."""


class Ordinals:
    """See the module's essay. Not for two threads at a time."""

    __slots__ = ("_counts", "_free", "_most", "_old")

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}  # lately, or more than once
        self._most = EXACT  # as many as that are kept as they are
        self._old: Fingerprints | None = None  # once, long ago
        self._free: dict[bytes, list[int]] = {}  # refused, though the one after them was not

    def next(self, content: bytes) -> int:
        """The ordinal of one more of this content: 0 for the first."""
        if self._free and (free := self._free.get(content)):
            return free.pop(free.index(min(free)))
        counts = self._counts
        ordinal = counts.get(content)
        if ordinal is None:
            if len(counts) >= self._most:
                self._fold()
                counts = self._counts
            ordinal = 1 if self._old is not None and content in self._old else 0
        counts[content] = ordinal + 1
        return ordinal

    def take_back(self, content: bytes, ordinal: int) -> None:
        """It was refused: the next one of this content gets its ordinal."""
        if ordinal == self.count(content) - 1:
            self._counts[content] = ordinal
        else:
            self._free.setdefault(content, []).append(ordinal)

    def count(self, content: bytes) -> int:
        """How many were asked for."""
        count = self._counts.get(content)
        return count if count is not None else int(self._old is not None and content in self._old)

    def _fold(self) -> None:
        """What was asked for once is kept shorter from here on."""
        if self._old is None:
            self._old = Fingerprints()
        self._old.add([content for content, count in self._counts.items() if count == 1])
        self._counts = {content: count for content, count in self._counts.items() if count != 1}
        self._most = len(self._counts) + EXACT


class Fingerprints:
    """A set of digests, by their first eight bytes: in many short arrays, each of them in order. So little is moved
    when one is added, and none is ever there twice: there is hardly any room that is not used."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts = [array("Q") for _ in range(PARTS)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __contains__(self, digest: bytes) -> bool:
        fingerprint = int.from_bytes(digest[:8], "big")
        part = self._parts[fingerprint % PARTS]
        place = bisect_left(part, fingerprint)
        return place < len(part) and part[place] == fingerprint

    def add(self, digests: Iterable[bytes]) -> None:
        """All of these as well."""
        for digest in digests:
            fingerprint = int.from_bytes(digest[:8], "big")
            part = self._parts[fingerprint % PARTS]
            place = bisect_left(part, fingerprint)
            if place == len(part) or part[place] != fingerprint:
                part.insert(place, fingerprint)
