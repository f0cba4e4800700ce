"""Whom an engine takes for dead, and what it expects to come."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from fanwood import Settings
from fanwood.engine.housekeeping import LINKS_EVERY, Housekeeping
from fanwood.engine.inbox import SpawnRequest
from fanwood.errors import StoreUnavailableError
from fanwood.model.commands import Batch, Committed, Hedge, Outcome, Record, Spawn, SpawnKind
from fanwood.model.records import Around, OtherWorker
from fanwood.model.states import RunKind, RunState
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


def test_while_claims_meet_what_is_closed_links_are_looked_for_now_and_then() -> None:
    """At once the first time, and where something of ours has ended."""
    housekeeping = Scene().housekeeping
    housekeeping.note_commit(Batch(), [], Committed(has_closed=True))
    assert housekeeping._due == NOW
    housekeeping._due = None
    housekeeping.note_commit(Batch(), [], Committed(has_closed=True))
    assert housekeeping._due == NOW + LINKS_EVERY
    ended = Outcome(b"r" * 16, 1, RunState.COMPLETED, "1")
    housekeeping.note_commit(Batch(outcomes=[ended]), [], Committed(has_closed=True))
    assert housekeeping._due == NOW


KIND = SpawnKind("t", parent_id=b"p" * 16, parent_attempt=1, run_kind=RunKind.SLEEP)
SHARED = Spawn(SpawnKind("s", schedule_timeout=4 * SECOND), b"s" * 16, None, "{}")
CHILD = Spawn(SpawnKind("t"), b"h" * 16, b"h" * 16, "{}")


def noted(state: RunState = RunState.WAITING, **about: Any) -> Record:
    return Record(KIND, b"r" * 16, b"r" * 16, "{}", state, 0, **about)


@pytest.mark.parametrize(
    ("batch", "due"),
    [
        (Batch(records=[noted(due_at=NOW + 2 * SECOND)]), NOW + 2 * SECOND),
        (Batch(records=[noted(timeout=3 * SECOND)]), NOW + 3 * SECOND),
        (Batch(records=[noted(share=SHARED)]), NOW + 4 * SECOND),
        (Batch(hedges=[Hedge(CHILD, b"f" * 16, 5 * SECOND)]), NOW + 5 * SECOND),
        (Batch(records=[noted(RunState.COMPLETED, output="1")]), None),
    ],
    ids=["due", "in time", "shared", "hedge", "done"],
)
def test_what_is_recorded_is_expected_when_its_time_comes(batch: Batch, due: int | None) -> None:
    """By whoever has committed it, before anybody has looked."""
    housekeeping = Scene().housekeeping
    housekeeping.note_commit(batch, [], Committed())
    assert housekeeping._due == due


async def test_what_others_serve_is_looked_at_until_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, looked = Scene(), list[int]()

    async def look_for_others() -> None:
        looked.append(1)
        if len(looked) == 1:
            raise StoreUnavailableError("away")

    monkeypatch.setattr(scene, "look_for_others", look_for_others)
    with pytest.raises(StoreUnavailableError):
        await scene.after()
    for _ in range(2):
        await scene.after()
    assert len(looked) == 2
