"""Secrets in texts that come in parts: what is named in one chunk of a stream may have its value in the next.

What was told of a stream is kept, as far back as a name and its value may reach, and each chunk is looked at together
with it. So nothing waits but what can't be told yet: digits that may go on as something else, and the beginning of an
address that may have a password in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from fanwood.server.masking import Secret, secrets_in

if TYPE_CHECKING:
    from fanwood.model.records import LogRecord

BACK = 512
"""Characters that are kept of what was told."""
OPEN = 4_096
"""A secret that is longer, and has not ended, hides what comes after it, until its attempt is over."""
HELD = 512
"""Characters that wait at most."""
_SCHEMES = ("bearer", "basic")
_AUTHORITY = re.compile(r"(?<=://)[^\s/:@]{0,200}(?::[^\s/@]{0,200})?\Z")


class Piece(NamedTuple):
    """A chunk as it may be told; `text` is None of what is no text."""

    line: LogRecord
    text: str | None


class StreamMask:
    """One attempt's texts, in order."""

    def __init__(self) -> None:
        self._raw = ""  # what was told, and what waits
        self._told = 0  # so much of it
        self._waiting: list[tuple[LogRecord, int]] = []  # chunks, and where in `raw` they begin
        self._dark = False

    def add(self, line: LogRecord) -> list[Piece]:
        """One more text: which can be told by now."""
        if self._dark:
            return [Piece(line, "")]
        self._waiting.append((line, len(self._raw)))
        self._raw += line.message
        found = secrets_in(self._raw, balanced=True)
        if self._may_go_on(found) and len(self._raw) - self._told <= HELD:
            return []
        return self._tell(found)

    def rest(self) -> list[Piece]:
        """What waits is told, as nothing more comes for a while. It is still known when something does."""
        return self._tell(secrets_in(self._raw, balanced=True)) if self._waiting else []

    def _may_go_on(self, found: list[Secret]) -> bool:
        """Whether the end can't be told yet."""
        end = len(self._raw)
        for one in found:
            value, after = self._raw[one.start : one.end], self._raw[one.end :]
            if (one.is_number and not after) or (value[0] in "\"'" and after == "\\"):
                return True
            if value.lower() in _SCHEMES and not after.strip():
                return True
        place = _AUTHORITY.search(self._raw, max(0, end - HELD))
        return place is not None and not any(one.start <= place.start() < one.end for one in found if not one.is_number)

    def _tell(self, found: list[Secret]) -> list[Piece]:
        hidden = [one for one in found if not one.is_number]
        starts = [start for _, start in self._waiting]
        pieces = [
            Piece(line, _told(self._raw, start, end, hidden))
            for (line, start), end in zip(self._waiting, [*starts[1:], len(self._raw)], strict=False)
        ]
        self._waiting.clear()
        keep = len(self._raw) - BACK
        open_ = next((one for one in hidden if one.end == len(self._raw)), None)
        if open_ is not None:
            self._dark = len(self._raw) - open_.start > OPEN
            keep = min(keep, open_.name)
        self._raw = self._raw[max(0, keep) :]
        self._told = len(self._raw)
        return pieces


def _told(raw: str, start: int, end: int, hidden: list[Secret]) -> str:
    """A part of a text: the mask stands where the secret begins."""
    said: list[str] = []
    at = start
    for one in hidden:
        if one.end <= at or one.start >= end:
            continue
        if one.start >= start:
            said += [raw[at : one.start], one.mask]
        at = min(max(at, one.end), end)
    return "".join([*said, raw[at:end]])
