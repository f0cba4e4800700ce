"""What is read once, and the order in which those go on that wait for it."""

from __future__ import annotations

import asyncio

import pytest

from fanwood.engine.signals import Signal
from fanwood.sdk.running.reading import Reading


async def hear(signal: Signal) -> None:
    """As an attempt does that is never over."""
    await signal.wait()


MANY = 50


class Readers:
    """So many code paths that need the same."""

    def __init__(self, failures: int = 0) -> None:
        self.reading = Reading(is_read=False)
        self.went_on: list[int] = []
        self.reads = 0
        self._failures = failures

    async def read(self) -> None:
        self.reads += 1
        for _ in range(5):
            await asyncio.sleep(0)
        if self.reads <= self._failures:
            raise OSError

    async def one(self, number: int, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        if not self.reading.is_over:
            await self.reading.passed(hear, self.read)
        self.went_on.append(number)


async def test_it_is_read_once_and_all_go_on_in_the_order_in_which_they_came() -> None:
    readers = Readers()
    await asyncio.gather(
        *(readers.one(number, number // 3) for number in range(MANY))
    )  # while, as and after it is read
    assert readers.went_on == list(range(MANY))
    assert readers.reads == 1
    assert readers.reading.is_over


async def test_where_it_could_not_be_read_another_one_reads() -> None:
    readers = Readers(failures=2)
    ends = await asyncio.gather(*(readers.one(number, 0) for number in range(MANY)), return_exceptions=True)
    assert [type(end) for end in ends if end is not None] == [OSError] * 2
    assert readers.reads == 3
    assert len(readers.went_on) == MANY - 2
    assert readers.reading.is_over


@pytest.mark.parametrize("who", [0, 1, 7, MANY - 1])
@pytest.mark.parametrize("turns", range(12))
async def test_who_is_cancelled_holds_nobody_up(who: int, turns: int) -> None:
    readers = Readers()
    tasks = [asyncio.ensure_future(readers.one(number, number // 3)) for number in range(MANY)]
    for _ in range(turns):
        await asyncio.sleep(0)
    tasks[who].cancel()
    await asyncio.wait(tasks)
    assert readers.went_on in (list(range(MANY)), [number for number in range(MANY) if number != who])
    assert readers.reading.is_over
