"""When a worker prunes, and how long it rests."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fanwood import ManualClock, Settings
from fanwood.engine import retention
from fanwood.engine.retention import AT_ONCE, DAY, LEAST_REST, Retention
from fanwood.errors import StoreBusyError, StoreError
from fanwood.model.actions import SPACE
from fanwood.model.records import PruneCursor, Pruned
from fanwood.store.store import START, WHOLE

FURTHER, MUCH_FURTHER = PruneCursor(1, b"x"), PruneCursor(3_600_000_000, b"y")


class Paces:
    """A store that answers as told, on a clock that moves a second with each step; and what was slept."""

    def __init__(
        self, answers: list[Pruned | StoreError], monkeypatch: pytest.MonkeyPatch, days: float = 3, namespace: str = "n"
    ) -> None:
        self.clock = ManualClock()
        self.answers = answers
        self.asked: list[tuple[Any, ...]] = []
        self.slept: list[float] = []
        self.errors: list[StoreError] = []
        self.working = True
        monkeypatch.setattr(retention, "asyncio", SimpleNamespace(sleep=self._sleep))
        settings = Settings(retention_days=days, namespace=namespace)
        self.retention = Retention(self, settings, lambda: self.working, self.errors.append)  # pyright: ignore[reportArgumentType]  # as much of a store as it needs

    def now(self) -> int:
        return self.clock.now()

    async def prune(self, *asked: Any) -> Pruned:
        self.asked.append(asked)
        self.clock.advance(1)
        answer = self.answers.pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if not self.answers or len(self.slept) > 20:
            raise asyncio.CancelledError

    async def run(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            await self.retention.run()


async def test_that_it_rests_in_proportion_and_keeps_to_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = Paces([Pruned(500, FURTHER), Pruned(0, MUCH_FURTHER), Pruned(7, None), Pruned(0, None)], monkeypatch)
    before = paces.now() - 3 * DAY
    await paces.run()
    assert paces.asked[:3] == [(before, AT_ONCE, cursor, "n") for cursor in (START, FURTHER, MUCH_FURTHER)]
    assert paces.asked[3] == (before + 3_000_000, AT_ONCE, START, "n")
    assert paces.slept == [1, 4, 20, 4, 60, 20]


async def test_that_it_rests_less_when_it_would_never_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes a second, and brings it a second further: with four seconds of rest it falls behind."""
    steps: list[Pruned | StoreError] = [Pruned(1000, PruneCursor(n * 1_000_000, b"x")) for n in range(1, 7)]
    paces = Paces(steps, monkeypatch)
    await paces.run()
    assert paces.slept == [1, 4, 2, 1, LEAST_REST, LEAST_REST, LEAST_REST]


async def test_that_old_actions_are_deleted_where_no_namespace_is(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = Paces([Pruned(5, FURTHER), Pruned(0, None), Pruned(2, None)], monkeypatch, namespace="")
    await paces.run()
    assert [asked[2:] for asked in paces.asked] == [(START, ""), (FURTHER, ""), (START, SPACE)]
    assert len({before for before, *_ in paces.asked}) == 1


async def test_that_it_looks_at_every_root_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = Paces([Pruned(0, None) for _ in range(8)], monkeypatch)
    monkeypatch.setattr(retention, "LOOK_AT_ALL", 3_000_000)
    await paces.run()
    assert [cursor for _, _, cursor, _ in paces.asked] == [START, START, START, WHOLE, START, START, WHOLE, START]


async def test_that_trouble_is_told_and_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = StoreBusyError("busy")
    paces = Paces([trouble, Pruned(0, None)], monkeypatch)
    await paces.run()
    assert paces.errors == [trouble]
    assert paces.slept == [1, 60, 20]


async def test_that_only_workers_prune(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = Paces([Pruned(0, None)], monkeypatch)
    paces.working = False
    await paces.run()
    assert paces.asked == []
    assert set(paces.slept) == {1}


async def test_that_short_times_are_looked_at_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = Paces([Pruned(0, None), Pruned(0, None)], monkeypatch, days=1 / 86_400)
    await paces.run()
    assert paces.slept == pytest.approx([0.1, 20, 0.1, 20])


async def test_that_nothing_is_deleted_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = Paces([], monkeypatch, days=0)
    await paces.retention.run()
    assert paces.slept == []


async def test_that_who_has_stopped_deletes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the midst of it: there may be very much."""
    paces = Paces([Pruned(500, FURTHER), Pruned(500, MUCH_FURTHER), Pruned(0, None)], monkeypatch)
    prune = paces.prune

    async def last(*asked: Any) -> Pruned:
        paces.working = False
        return await prune(*asked)

    monkeypatch.setattr(paces, "prune", last)
    await paces.run()
    assert len(paces.asked) == 1
