"""How many waits begin in one turn of a loop."""

from __future__ import annotations

import asyncio

import pytest

from fanwood.sdk.running.beginning import Beginning

MOST = 20


async def test_so_many_begin_in_a_turn_in_the_order_in_which_they_came() -> None:
    beginning = Beginning(asyncio.get_running_loop(), MOST)
    turn, begun = 0, list[tuple[int, int]]()

    async def one(number: int) -> None:
        if (place := beginning.place()) is not None:
            await beginning.come(place)
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
    beginning = Beginning(asyncio.get_running_loop(), MOST)
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
    third = beginning.place()  # the second is let in, and has not gone on
    assert third is not None
    await beginning.come(second)
    await asyncio.sleep(0)
    await beginning.come(third)
    assert not beginning
    assert beginning.place() is None  # this turn had one of its own


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_cancelled_holds_nobody_up(turns: int) -> None:
    beginning, begun = Beginning(asyncio.get_running_loop(), 1), list[int]()

    async def one(number: int) -> None:
        if (place := beginning.place()) is not None:
            await beginning.come(place)
        begun.append(number)

    tasks = [asyncio.ensure_future(one(number)) for number in range(4)]
    for _ in range(turns):
        await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert begun in ([0, 1, 2, 3], [0, 2, 3])
    assert not beginning
    while beginning._turns:
        await asyncio.sleep(0)
    assert beginning.place() is None


@pytest.mark.parametrize("count", [1, MOST])
async def test_nothing_is_left_on_the_loop_when_none_begins(count: int) -> None:
    beginning = Beginning(asyncio.get_running_loop(), MOST)
    for _ in range(3):
        assert [beginning.place() for _ in range(count)] == [None] * count
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert beginning._begun == 0
