"""Who an engine is, and for how long: its lease, and what goes with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fanwood import Settings
from fanwood.engine.claims import Claims
from fanwood.engine.membership import Membership
from fanwood.errors import StoreBusyError
from fanwood.model.commands import Outcome
from fanwood.model.states import RunState

LEASE = 10.0


class Scene:
    """A store, executors, and a loop whose time goes on while the store is asked; and what happened, in order."""

    slots, programs = 2, ()

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.seconds = 100.0
        self.takes = 0.0
        self.has_lease = True
        self.fails = False
        self.worker = 0
        self.reported: list[Outcome] = []
        settings = Settings.load(database_url="memory:", lease=LEASE)
        claims = Claims(one_at_a_time=True)
        self.membership = Membership(
            self, settings, "w", claims, self.reported.extend, lambda: self.happened.append("entered")  # pyright: ignore[reportArgumentType]  # as much of a store as it needs
        )  # fmt: skip

    async def begin(self) -> Membership:
        """A worker."""
        asyncio.get_running_loop().time = lambda: self.seconds
        await self.membership.enter()
        await self.membership.employ(self)  # type: ignore[arg-type]
        self.happened.clear()
        return self.membership

    def _passes(self) -> None:
        self.seconds += self.takes

    # --- as a store

    async def register(self, *_: Any) -> int:
        self._passes()
        self.worker += 1
        self.happened.append(f"register {self.worker}")
        return self.worker

    async def renew(self, _: int) -> bool:
        self._passes()
        return self.has_lease

    async def reap(self, worker: int, _: int) -> int:
        self.happened.append(f"reap {worker}")
        if self.fails:
            raise StoreBusyError("not now")
        return 0

    async def contended(self, _: int) -> frozenset[str]:
        return frozenset()

    # --- as executors

    def tasks(self) -> list[Any]:
        return []

    def hand_back(self) -> list[Outcome]:
        self.happened.append("hand back")
        return [Outcome(b"r" * 16, 1, RunState.QUEUED)]

    def go_on(self) -> None:
        self.happened.append("go on")

    def abandon(self, _: Any) -> None:
        self.happened.append("abandon")


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def _renew(scene: Scene) -> None:
    await scene.membership.renew()


async def _enter_again(scene: Scene) -> None:
    scene.has_lease = False
    await scene.membership.renew()


@pytest.mark.parametrize("how", [_renew, _enter_again], ids=["renewed", "entered again"])
async def test_a_lease_lasts_from_when_it_was_asked_for(scene: Scene, how: Callable[[Scene], Any]) -> None:
    """The answer may be late, and others count from when the store wrote it down."""
    membership = await scene.begin()
    scene.seconds += 5
    asked, scene.takes = scene.seconds, 1.5
    await how(scene)
    if how is _enter_again:
        asked += 1.5  # the renewal that failed
    scene.seconds = asked + LEASE - 0.01
    assert membership.lease.is_held
    scene.seconds = asked + LEASE
    assert not membership.lease.is_held


async def test_what_had_not_begun_when_a_lease_lapsed_is_handed_back_before_anything_begins(scene: Scene) -> None:
    """It may have been closed meanwhile by somebody who did not wait for us."""
    membership = await scene.begin()
    scene.seconds += LEASE
    await membership.renew()
    assert scene.happened == ["hand back", "go on"]
    assert [outcome.state for outcome in scene.reported] == [RunState.QUEUED]
    scene.happened.clear()
    await membership.renew()
    assert scene.happened == []


@pytest.mark.parametrize("fails", [False, True], ids=["", "and the store fails"])
async def test_who_lost_its_lease_stops_all_and_is_another_one(scene: Scene, fails: bool) -> None:
    """What it had goes back, and its watches, which went with it, are made anew."""
    membership = await scene.begin()
    before, scene.has_lease, scene.fails = membership.worker_id, False, fails
    try:
        await membership.renew()
    except StoreBusyError:
        assert fails
    assert membership.worker_id != before
    assert scene.happened == ["abandon", f"register {membership.worker_id}", f"reap {before}", "entered"]
