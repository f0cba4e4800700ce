"""Identity and randomness as arguments.

A run id is a uuid7: 16 bytes that sort by the time of their making. Inside the package ids travel as `bytes`; people
and programs outside see the usual dashed form.
"""

from __future__ import annotations

import random
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


class SystemIds:
    """Ids from the clock and the system's randomness; safe after a fork."""

    def new_id(self) -> bytes:
        return uuid_utils.uuid7().bytes

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
