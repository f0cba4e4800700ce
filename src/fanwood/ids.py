"""Identity and randomness as arguments.

A run id is a uuid7: 16 bytes that sort by the time of their making. Inside the package ids travel as `bytes`; people
and programs outside see the usual dashed form.
"""

from __future__ import annotations

import random
import secrets
import time
import uuid
from typing import Protocol

import uuid_utils

from fanwood import checks
from fanwood.errors import RunNotFoundError


class IdSource(Protocol):
    """Where ids and random numbers come from."""

    def new_id(self) -> bytes:
        """A new uuid7, as 16 bytes, greater than those made before."""
        ...

    def jitter(self) -> float:
        """A random number from 0 to 1."""
        ...


CLOSE = 1_000
"""Milliseconds by which this machine's wall clock may be off the store's without a shift of ids."""


class SystemIds:
    """Ids from the clock and the system's randomness; safe after a fork. Once there is a store, the time in them is
    about the store's: where clocks differ, what is older in the queue must not depend on who made it."""

    def __init__(self) -> None:
        self._shift = 0  # milliseconds

    def new_id(self) -> bytes:
        id_ = uuid_utils.uuid7().bytes
        return shifted(id_, self._shift) if self._shift else id_

    def follow(self, now: int) -> None:
        """Go by the store's time, which is this, in microseconds; but for small differences, which come and go, and
        would only disturb the order."""
        off = now // 1000 - self.wall()
        if abs(off - self._shift) > CLOSE:
            self._shift = off if abs(off) > CLOSE else 0

    def wall(self) -> int:
        """The time that goes into a new id, in milliseconds."""
        return time.time_ns() // 1_000_000

    def jitter(self) -> float:
        return random.random()  # spreads retries; nothing secret hangs on it


class SeededIds:
    """The same ids and numbers for the same seed. For tests and simulations."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._count = 0

    def new_id(self) -> bytes:
        self._count += 1
        return uuid.UUID(int=(self._count << 80) | (7 << 76) | (2 << 62) | self._random.getrandbits(60)).bytes

    def jitter(self) -> float:
        return self._random.random()


def first_id(milliseconds: int) -> bytes:
    """Before all ids that were made at a time, or later."""
    return min(max(milliseconds, 0), (1 << 48) - 1).to_bytes(6, "big") + bytes(10)


def shifted(id_: bytes, milliseconds: int) -> bytes:
    """The id as it would have been made so much later."""
    made = int.from_bytes(id_[:6], "big") + milliseconds
    return min(max(made, 0), (1 << 48) - 1).to_bytes(6, "big") + id_[6:]


def id_text(run_id: bytes) -> str:
    """The form of a run id that people see. (Of one that somebody wrote by hand, too.)"""
    return hex_text(run_id.hex())


SHORT = 8
"""Digits of an id's short form: its end, which is random. (Its beginning is the clock, and that of its neighbours.)"""


def short_text(run_id: bytes) -> str:
    """The short form of a run id, for lists."""
    return run_id.hex()[-SHORT:]


def hex_text(digits: str) -> str:
    """As `id_text`, from hex digits."""
    h = digits.lower()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def id_bytes(text: str) -> bytes:
    """The inner form of a run id.

    Raises:
        RunNotFoundError: `text` isn't a run id at all.
    """
    try:
        return uuid.UUID(text).bytes
    except (ValueError, AttributeError, TypeError):
        raise RunNotFoundError(
            f"{checks.shown(text)} is not a run id: expected something like {id_text(bytes(16))}"
        ) from None


def new_secret() -> str:
    """256 bits that nobody can guess, for a URL or a header."""
    return secrets.token_urlsafe(32)
