"""How many waits begin in one turn of a loop."""

from __future__ import annotations

import asyncio

import pytest

from fanwood.sdk.running.beginning import MOST, Beginning


async def test_so_many_begin_in_a_turn_in_the_order_in_which_they_came() -> None:
    beginning = Beginning(asyncio.get_running_loop())
    turn, begun = 0, list[tuple[int, int]]()

    async def one(number: int) -> None:
        if (place := beginning.place()) is not None:
            await place
        begun.append((turn, number))

    all_ = asyncio.gather(*[one(number) for number in range(5 * MOST)])
    while not all_.done():
        turn += 1
        await asyncio.sleep(0)
    assert [number for _, number in begun] == list(range(5 * MOST))
    turns = [turn for turn, _ in begun]
    assert max(turns.count(turn) for turn in set(turns)) == MOST
    assert not beginning


async def test_who_comes_later_stands_behind_those_that_wait() -> None:
    beginning = Beginning(asyncio.get_running_loop())
    assert [beginning.place() for _ in range(MOST)] == [None] * MOST
    first, second = beginning.place(), beginning.place()
    assert first is not None
    assert second is not None
    assert beginning
    first.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert second.done()
    assert not second.cancelled()
    assert not beginning
    assert beginning.place() is None  # this turn had one of its own


@pytest.mark.parametrize("count", [1, MOST])
async def test_nothing_is_left_on_the_loop_when_none_begins(count: int) -> None:
    beginning = Beginning(asyncio.get_running_loop())
    for _ in range(3):
        assert [beginning.place() for _ in range(count)] == [None] * count
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert beginning._begun == 0
