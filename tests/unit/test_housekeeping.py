"""Whom an engine takes for dead, and what it expects to come."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from fanwood import Settings
from fanwood.engine.housekeeping import Housekeeping
from fanwood.engine.inbox import SpawnRequest
from fanwood.model.commands import Batch, Committed, Outcome, SpawnKind
from fanwood.model.records import Around, OtherWorker
from fanwood.model.states import RunState
from tests.conformance.stage import SECOND

HERE, ELSEWHERE, NOW = "here", "elsewhere", 1_000 * SECOND


class Scene:
    """A store, an engine's membership and its health, in one; and who was reaped."""

    worker_id, host, is_worker, embedded = 1, HERE, True, True

    def __init__(self) -> None:
        self.others: list[OtherWorker] = []
        self.reaped: list[tuple[int, bool]] = []
        self.disturbed_at = 0
        settings = Settings.load(database_url="memory:", heartbeat=2.0, lease=10.0)
        self.housekeeping = Housekeeping(
            self, settings, self, self, lambda **_: None, lambda _: None  # pyright: ignore[reportArgumentType]  # as much of each as it needs
        )  # fmt: skip

    def now(self) -> int:
        return NOW

    def note_success(self) -> None: ...

    def note_trouble(self, _: Any) -> None: ...

    async def look_around(self, *_: Any) -> Around:
        return Around(self.others, None, False, "", 0)

    async def look_for_others(self) -> None: ...

    async def reap(self, worker: int, _: int, *, if_lapsed: bool) -> int:
        self.reaped.append((worker, if_lapsed))
        return 1

    async def after(self, *others: tuple[str, int, int]) -> list[tuple[int, bool]]:
        """Who is reaped of these (host, pid, end of the lease), numbered from 2."""
        self.reaped.clear()
        self.others = [OtherWorker(number, "w", *other) for number, other in enumerate(others, 2)]
        await self.housekeeping.look_around()
        return self.reaped


@pytest.fixture(scope="module")
def gone() -> int:
    """The pid of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


async def test_who_lives_is_left_alone(gone: int) -> None:
    """A pid means something on its own host only."""
    later = NOW + SECOND
    assert (
        await Scene().after((HERE, os.getpid(), later), (ELSEWHERE, os.getpid(), later), (ELSEWHERE, gone, later)) == []
    )


async def test_who_is_gone_is_reaped_whatever_his_lease_says(gone: int) -> None:
    assert await Scene().after((HERE, gone, NOW + SECOND)) == [(2, False)]


@pytest.mark.parametrize("host", [HERE, ELSEWHERE])
async def test_whose_lease_has_lapsed_is_reaped_if_it_still_has(host: str) -> None:
    assert await Scene().after((host, os.getpid(), NOW), (host, os.getpid(), NOW + 1)) == [(2, True)]


async def test_after_an_outage_of_a_server_leases_mean_nothing_for_two_heartbeats(gone: int) -> None:
    scene = Scene()
    scene.embedded = False
    scene.disturbed_at = NOW - 4 * SECOND + 1
    assert await scene.after((ELSEWHERE, gone, NOW - SECOND), (HERE, gone, NOW + SECOND)) == [(3, False)]
    scene.disturbed_at = NOW - 4 * SECOND
    assert await scene.after((ELSEWHERE, gone, NOW - SECOND)) == [(2, True)]


def test_the_soonest_of_what_is_expected_counts() -> None:
    housekeeping = Scene().housekeeping
    for when, due in ((NOW + 5, NOW + 5), (NOW + 9, NOW + 5), (NOW + 2, NOW + 2)):
        housekeeping.expect(when)
        assert housekeeping._due == due


@pytest.mark.parametrize(
    ("kind", "due"),
    [
        (SpawnKind("t", schedule_timeout=5 * SECOND), NOW + 5 * SECOND),
        (SpawnKind("t", deadline=NOW + SECOND), NOW + SECOND),
        (SpawnKind("t"), None),
    ],
)
def test_what_is_spawned_is_expected_to_expire(kind: SpawnKind, due: int | None) -> None:
    housekeeping = Scene().housekeeping
    housekeeping.note_commit(Batch(), [SpawnRequest(kinds=[kind])], Committed())
    assert housekeeping._due == due


def test_what_is_tried_again_later_is_expected_then_and_what_was_closed_is_swept() -> None:
    housekeeping = Scene().housekeeping
    retry = Outcome(b"r" * 16, 1, RunState.QUEUED, retry=True, delay=3 * SECOND)
    housekeeping.note_commit(Batch(outcomes=[retry]), [], Committed())
    assert housekeeping._due == NOW + 3 * SECOND
    assert not housekeeping._closing._noted
    housekeeping.note_commit(Batch(), [], Committed(has_closed=True))
    assert housekeeping._closing._noted
