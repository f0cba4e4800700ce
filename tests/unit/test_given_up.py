"""Waits of one attempt that its code has given up."""

from __future__ import annotations

from asyncio import CancelledError
from types import SimpleNamespace
from typing import Any

import pytest

from fanwood.sdk.running.parts import GivenUp, Parts
from fanwood.sdk.running.reading import Reading
from fanwood.sdk.waits.given_up import kept, take_up

compared: list[int] = []


class Counted(GivenUp):
    def __lt__(self, other: Any) -> bool:
        compared.append(self.number)
        return self.number < other.number


def test_very_many_that_wait_for_the_same_are_given_up_without_a_look_at_all() -> None:
    """As by one timeout around all of them: the loop is held meanwhile. They are had in the order of their numbers."""
    count, attempt, parts = 2_000, SimpleNamespace(interruption=None), Parts(Reading(is_read=True))
    for number in (*range(1, count, 2), *range(0, count, 2)):
        wait = Counted(number, b"", number.to_bytes(16, "big"), None)
        with pytest.raises(CancelledError), kept(attempt, parts, b"m", wait):  # pyright: ignore[reportArgumentType]
            raise CancelledError
    assert len(compared) < 20 * count
    taken = [take_up(parts, b"m") for _ in range(count)]
    assert [wait and wait.number for wait in taken] == [*range(count)]
    assert take_up(parts, b"m") is None
