"""The slots of one of several processes: a part of what comes together, all of it where that is no burden."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanwood.worker import sharing
from fanwood.worker.sharing import PATIENCE, QUIET, TURN, SharingSlots
from tests.unit.test_slots import FakeAttempt, claimed


class Process:
    """One of several, with a hundred slots, in a time of its own; what waits to look is in `looks`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = self.used = 0.0
        self.rooms = 0
        self.looks: list[Any] = []
        self.slots: Any = SharingSlots(
            100, 10, lambda: None, on_room=self._room, monotonic=lambda: self.time, used=lambda: self.used
        )
        monkeypatch.setattr(sharing.asyncio, "get_running_loop", lambda: self)
        self.at = 0

    def _room(self) -> None:
        self.rooms += 1

    def call_later(self, delay: float, look: Any) -> None:
        assert delay == TURN
        self.looks.append(look)

    def claim(self) -> list[FakeAttempt]:
        """As many as it asks for begin."""
        count = self.slots.demand()
        self.at += count
        if count:
            self.slots.offer([claimed(f"{self.at - n:02}") for n in range(count)])
        return [FakeAttempt(run) for run in self.slots.take()]

    def turn(self, *, burning: float = 0.0, late: float = 0.0) -> None:
        self.time += TURN + late
        self.used += burning
        self.looks.pop()()


def test_what_takes_a_processor_is_taken_in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    first = process.claim()
    assert len(first) == 2
    assert process.claim() == []
    process.turn(burning=TURN)
    process.turn(late=TURN)  # it did not get one
    assert (process.claim(), process.rooms) == ([], 0)
    process.slots.finish(first[:1])
    assert len(process.claim()) == 1


def test_what_waits_is_taken_by_more_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    sizes = [len(process.claim())]
    while process.slots.busy < 100:
        assert process.claim() == []
        process.turn(burning=TURN / 4)
        sizes.append(len(process.claim()))
    assert sizes == [2, 2, 4, 8, 16, 32, 36]
    assert process.rooms == 6


def test_what_ends_at_once_is_taken_by_hundreds(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    sizes: list[int] = []
    for _ in range(4):
        process.time += 0.001
        begun = process.claim()
        sizes.append(len(begun))
        process.slots.finish(begun)
    assert sizes == [2, 8, 32, 100]
    process.slots.finish([FakeAttempt(run) for run in process.slots.take()])  # that were claimed ahead
    process.time += 2 * QUIET
    assert len(process.claim()) == 2


def test_none_waits_for_ever_for_others_that_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    process.claim()
    assert process.claim() == []
    while not process.rooms:
        process.turn(burning=TURN)
        assert process.time < PATIENCE + 2 * TURN
    assert len(process.claim()) == 2


def test_a_claim_that_brings_nothing_does_not_count_as_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    begun = process.claim()
    process.slots.finish(begun)
    process.time += QUIET / 2
    assert process.slots.demand() == 2
    for _ in range(50):
        process.time += TURN / 2
        assert process.slots.demand() == 2


def test_it_looks_later_on_the_loop_that_it_is_asked_on() -> None:
    rooms: list[int] = []

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        slots = SharingSlots(
            100, 10, lambda: None, on_room=lambda: rooms.append(slots.demand()), monotonic=loop.time, used=lambda: 0.0
        )
        slots.offer([claimed(f"0{n}") for n in range(2)])
        slots.take()
        assert slots.demand() == 0
        async with asyncio.timeout(60):
            while not rooms:
                await asyncio.sleep(0.001)

    asyncio.run(ask())
    assert rooms[0] > 0
