"""The order in which a tick tells what came of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanwood.engine.claims import Claims
from fanwood.engine.inbox import BATCH_BYTES, Inbox, SpawnRequest, SuspendRequest
from fanwood.engine.parts import items_of
from fanwood.engine.ticks import CLAIM_PAUSE, Ticks
from fanwood.engine.waking import Waker
from fanwood.model.commands import (
    Batch,
    ClaimedRun,
    Closing,
    Committed,
    Notice,
    Outcome,
    Record,
    Spawn,
    SpawnKind,
)
from fanwood.model.states import RunState


class Told:
    """All that a tick speaks to, in one; and what it heard, in order."""

    worker_id, slots, is_worker, embedded, url = 1, 1, False, True, "store:"
    due_again, most_runs, has_work = None, 10_000_000, False

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.is_beside = False
        self.batches: list[Batch] = []
        self.dispatcher = self
        self.contended = frozenset[str]()

    async def commit(self, _me: int, batch: Batch, *_: Any) -> bool:
        self.batches.append(batch)
        return True

    def place(self, _: list[Outcome]) -> None:
        pass

    def prepare(self, *_: Any) -> None:
        pass

    def serves(self, _: str) -> bool:
        return True

    def notice(self, _: Notice) -> None:
        self.heard.append("notice")

    def deliver(self, *_: Any) -> list[Any]:
        self.heard.append("ends")
        return []

    def note_commit(self, *_: Any) -> None:
        pass

    def now(self) -> int:
        return 5_000_000

    def hand_back(self, root: str | None = None) -> list[Outcome]:
        self.heard.append(f"hand back {root}")
        return [Outcome(b"r" * 16, 1, RunState.QUEUED)]

    def demand(self) -> int:
        return 16

    def beside(self) -> bool:
        return self.is_beside

    def limits_reached(self, attempts: list[tuple[str, int]]) -> None:
        self.heard += [run for run, _ in attempts]


def ticks_with(told: Told, inbox: Inbox) -> Ticks:
    claims = Claims(one_at_a_time=True)
    return Ticks(told, inbox, told, claims, told, told, told, Waker())  # pyright: ignore[reportArgumentType]  # as much of each as it needs


def test_that_a_run_hears_of_its_own_end_before_those_of_its_children() -> None:
    """A parent that is cancelled together with a child must not go on with that."""
    told = Told()
    notice = Notice(b"p" * 16, 1, RunState.CANCELLED, None, None)
    ticks_with(told, Inbox())._deliver(Batch(), [], Committed(mine=[notice]))
    assert told.heard == ["notice", "ends"]


def test_what_comes_to_an_engine_that_executes_nothing_any_more_goes_back() -> None:
    """A worker has stopped while a commit was on its way."""
    told, inbox = Told(), Inbox()
    run = ClaimedRun("AB" * 16, 3, "", "AB" * 16, 0, "t", None, None, "{}", None, 1, 0, 0, None, "")
    ticks_with(told, inbox)._deliver(Batch(), [], Committed(claimed=[run]))
    [[outcome]] = inbox.outcomes
    assert (outcome.run_id, outcome.attempt, outcome.state, outcome.retry) == (run.key, 3, RunState.QUEUED, False)


def test_no_limit_comes_early_though_another_has_come() -> None:
    told = Told()
    ticks = ticks_with(told, Inbox())
    for run, when in (("late", 4_999_999), ("now", 5_000_000), ("soon", 5_000_001)):
        ticks._limits.set(run, 1, when)
    ticks._check_limits()
    assert told.heard == ["late", "now"]
    assert ticks._pause() == 1e-6  # until the next one


async def test_who_hears_of_a_call_has_withdrawn_what_has_not_begun_before_he_says_so() -> None:
    """He says so before anything else is committed: somebody waits for it."""
    told, inbox = Told(), Inbox()
    root, run = b"a" * 16, b"b" * 16
    ticks = ticks_with(told, inbox)
    ticks._deliver(Batch(), [], Committed(closings=[Closing(run.hex(), root.hex())]))
    assert f"hand back {root.hex()}" in told.heard
    assert list(inbox.heard) == [run]
    await ticks._commit()
    assert [batch.heard for batch in told.batches] == [[run], []]
    assert [[outcome.run_id for outcome in batch.outcomes] for batch in told.batches] == [[], [b"r" * 16]]


def test_who_asks_for_its_pauses_while_no_loop_runs_says_what_time_it_is() -> None:
    """As tests of users do, whose loops run a turn at a time."""
    told, inbox = Told(), Inbox()
    ticks = ticks_with(told, inbox)
    ticks._claims.begin(["t"])
    told.is_beside, ticks._committed_at = True, 7.0
    assert ticks._pause(7.0) == pytest.approx(CLAIM_PAUSE)


async def test_a_claim_by_itself_waits_a_little_while_a_small_tree_is_executed_beside_a_large_one() -> None:
    """What that says next would wait until it is committed."""
    told, inbox = Told(), Inbox()
    ticks = ticks_with(told, inbox)
    ticks._claims.begin(["t"])
    assert ticks._has_work()
    told.is_beside, ticks._committed_at = True, asyncio.get_running_loop().time() + 60
    assert not ticks._has_work()
    assert (ticks._pause() or 0) > 50
    inbox.outcomes.append([Outcome(b"r" * 16, 1, RunState.COMPLETED)])
    assert ticks._has_work()  # with it the claim goes as well
    inbox.outcomes.clear()
    ticks._committed_at = asyncio.get_running_loop().time() - CLAIM_PAUSE
    assert ticks._has_work()


def test_more_letters_are_asked_for() -> None:
    ticks = ticks_with(Told(), Inbox())
    ticks._deliver(Batch(), [], Committed(has_more=True))
    assert ticks._mail


@pytest.mark.parametrize(
    ("outcome", "is_ready"),
    [
        (Outcome(b"r" * 16, 1, RunState.QUEUED, retry=True), True),
        (Outcome(b"r" * 16, 1, RunState.QUEUED), True),
        (Outcome(b"r" * 16, 1, RunState.QUEUED, retry=True, delay=1), False),
        (Outcome(b"r" * 16, 1, RunState.COMPLETED, "1"), False),
    ],
)
def test_what_goes_back_to_the_queue_is_looked_for_at_once(outcome: Outcome, is_ready: bool) -> None:
    """And not when somebody says that there is something."""
    ticks = ticks_with(Told(), Inbox())
    ticks._claims.ready = False
    ticks._deliver(Batch(outcomes=[outcome]), [], Committed())
    assert ticks._claims.ready == is_ready


def a_record(parent: bytes, size: int = 0) -> SpawnRequest:
    kind = SpawnKind("~recorded", parent_id=parent, parent_attempt=1, root_id=parent)
    return SpawnRequest(records=[Record(kind, parent, parent, "", RunState.COMPLETED, 0, output="x" * size)])


def a_spawn(parent: bytes) -> SpawnRequest:
    kind = SpawnKind("t", parent_id=parent, parent_attempt=1, root_id=parent)
    return SpawnRequest(spawns=[Spawn(kind, parent, parent, "{}")], kinds=[kind])


async def test_what_an_attempt_asks_for_does_not_go_before_what_it_has_recorded() -> None:
    """Nobody waits for that; and there is no room for it, as others have recorded much."""
    told, inbox, (a, b, c) = Told(), Inbox(), (letter * 16 for letter in (b"a", b"b", b"c"))
    inbox.records.extend([a_record(a, BATCH_BYTES), a_record(b)])
    inbox.spawns.extend([a_spawn(b), a_spawn(a), a_spawn(c)])
    inbox.outcomes.append([Outcome(b, 1, RunState.COMPLETED), Outcome(c, 1, RunState.COMPLETED)])
    ticks = ticks_with(told, inbox)
    suspends: list[bool] = []
    inbox.suspends.append(SuspendRequest(lambda: None, suspends.append))
    await ticks._commit()
    assert suspends == []
    await ticks._commit()
    first, second = (
        [[each.kind.parent_id for each in [*batch.records, *batch.spawns]], [each.run_id for each in batch.outcomes]]
        for batch in told.batches
    )
    assert (first, second) == ([[a, a, c], [c]], [[b, b], [b]])
    assert (suspends, bool(inbox)) == ([False], False)


def test_in_parts_what_is_recorded_goes_first() -> None:
    requests = [a_spawn(b"a" * 16), a_record(b"a" * 16), a_spawn(b"b" * 16)]
    items = items_of(Batch(logs=[]), requests)
    assert [item.what for item in items] == [requests[1], requests[0], requests[2]]
