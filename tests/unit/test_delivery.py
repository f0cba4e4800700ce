"""What an engine makes of a commit's answer: who is told, and which runs are its own to execute."""

from __future__ import annotations

from typing import Any

import pytest

from fanwood import AttemptFencedError, Fanwood, RunNotFoundError
from fanwood.engine.claims import Claims
from fanwood.engine.delivery import FEW, HOLDS, MANY, Delivery
from fanwood.engine.inbox import SpawnRequest
from fanwood.engine.latencies import Latencies
from fanwood.engine.signals import Signal
from fanwood.engine.waits import Collector, Stream
from fanwood.model.commands import Attached, Batch, Committed, Failure, Finished, Outcome, Spawn, SpawnKind
from fanwood.model.states import RunState
from fanwood.store.failures import ancestor_ended, encode_failure

PARENT, ID, OTHER = b"p" * 16, b"i" * 16, b"o" * 16


def waited_for(delivery: Delivery, *ids: bytes) -> tuple[Collector, Batch]:
    collector, batch = Collector(fail_fast=False), Batch()
    collector.grow(len(ids))
    collector.close()
    for index, id_ in enumerate(ids):
        delivery.watch([id_], collector, [index], batch)
    return collector, batch


def test_an_end_that_was_refused_is_nobodys_result() -> None:
    """What was recorded of that run is told by a letter."""
    delivery = Delivery("store:", Latencies(lambda: 0.0))
    collector, _ = waited_for(delivery, ID, OTHER)
    outcomes = [Outcome(ID, 1, RunState.COMPLETED, "1"), Outcome(OTHER, 1, RunState.COMPLETED, "2")]
    delivery.deliver(Batch(outcomes=outcomes), [], Committed(fenced_outcomes={0}))
    assert [ended and ended.output for ended in collector.results] == [None, "2"]
    assert not collector.ready
    delivery.deliver(Batch(), [], Committed(finished={ID: Finished(RunState.COMPLETED, "3", None, "t")}))
    assert collector.ready


def test_what_a_call_has_ended_is_told_before_there_is_mail() -> None:
    """And once: the letter comes all the same."""
    delivery = Delivery("store:", Latencies(lambda: 0.0))
    collector, _ = waited_for(delivery, ID)
    end = Finished(RunState.COMPLETED, "3", None, "~event")
    delivery.tell_ended([(ID, end), (OTHER, end)])
    assert collector.results == [end]
    delivery.deliver(Batch(), [], Committed(finished={ID: Finished(RunState.COMPLETED, "4", None, "~event")}))
    assert collector.results == [end]


@pytest.mark.parametrize("changes", [True, False])
def test_an_engine_tells_it_when_the_call_is_over(app: Fanwood, monkeypatch: pytest.MonkeyPatch, changes: bool) -> None:
    engine, told = app.engine(), list[object]()
    end = (ID, Finished(RunState.COMPLETED, "3", None, "~event"))
    monkeypatch.setattr(engine.store, "take_ended", lambda: [end])
    monkeypatch.setattr(engine._delivery, "tell_ended", told.extend)

    async def nothing(_: object) -> None: ...

    engine.call(nothing, changes=changes).result(60)
    engine.call(nothing).result(60)  # what is done when the first is over is done by now
    assert told == [end] * changes


def test_what_is_tried_again_is_no_end() -> None:
    delivery = Delivery("store:", Latencies(lambda: 0.0))
    collector, _ = waited_for(delivery, ID)
    delivery.deliver(Batch(outcomes=[Outcome(ID, 1, RunState.QUEUED, retry=True)]), [], Committed())
    assert collector.results == [None]


def test_who_waits_for_what_is_not_there_is_told() -> None:
    delivery = Delivery("store:", Latencies(lambda: 0.0))
    collector, _ = waited_for(delivery, ID)
    delivery.deliver(Batch(), [], Committed(unknown=[ID]))
    assert isinstance(collector.error, RunNotFoundError)


def test_what_did_not_fit_is_asked_for_again() -> None:
    delivery = Delivery("store:", Latencies(lambda: 0.0))
    waited_for(delivery, ID)
    delivery.deliver(Batch(), [], Committed(later={ID}))
    assert delivery.has_work
    batch = Batch()
    delivery.prepare(batch, [])
    assert batch.watch == [ID]


def test_an_end_that_is_held_is_looked_at_again_and_told_in_the_end() -> None:
    """It was cancelled with who waits for it, who then lives on all the same: he was asked for anew."""
    delivery, collector = Delivery("store:", Latencies(lambda: 0.0)), Collector(fail_fast=False, owns=True)
    collector.grow(1)
    collector.close()
    delivery.watch([ID], collector, [0], Batch())
    ended = Finished(RunState.CANCELLED, None, ancestor_ended(PARENT, "was cancelled"), "t")
    for _ in range(HOLDS):
        delivery.deliver(Batch(), [], Committed(finished={ID: ended}))
        assert not collector.ready
        assert not delivery.has_work
        delivery.look_at_held()
        batch = Batch()
        delivery.prepare(batch, [])
        assert batch.watch == [ID]
    delivery.deliver(Batch(), [], Committed(finished={ID: ended}))
    assert collector.ready
    delivery.look_at_held()
    assert not delivery.has_work


def test_the_end_of_what_is_watched_is_told_by_the_store_so_that_the_watch_goes() -> None:
    delivery = Delivery("store:", Latencies(lambda: 0.0))
    _, batch = waited_for(delivery, ID)
    batch.outcomes = [Outcome(ID, 1, RunState.COMPLETED, "1"), Outcome(OTHER, 1, RunState.COMPLETED, "1")]
    delivery.prepare(batch, [])
    assert [outcome.local for outcome in batch.outcomes] == [False, True]


def test_who_gives_up_is_told_of_no_more_unless_another_waits() -> None:
    delivery = Delivery("store:", Latencies(lambda: 0.0))
    first, _ = waited_for(delivery, ID, OTHER)
    waited_for(delivery, OTHER)
    batch = Batch()
    delivery.give_up([ID, OTHER], first, batch)
    delivery.prepare(batch, [])
    assert batch.unwatch == [ID]


def test_all_watches_are_made_anew() -> None:
    delivery = Delivery("store:", Latencies(lambda: 0.0))
    waited_for(delivery, ID, OTHER)
    delivery.deliver(Batch(), [], Committed(finished={OTHER: Finished(RunState.COMPLETED, "1", None, "t")}))
    delivery.watch_all_again()
    batch = Batch()
    delivery.prepare(batch, [])
    assert batch.watch == [ID]


def test_who_wants_it_looked_at_is_told_that_nobody_looks_any_more() -> None:
    """Also behind very many that were put off."""
    delivery, stream, first, behind = Delivery("store:", Latencies(lambda: 0.0)), Stream(), Signal(), Signal()
    ids = [n.to_bytes(16, "big") for n in range(4 * MANY)]
    stream.grow(len(ids))
    delivery.when_looked(first)
    delivery.watch(ids, stream, range(len(ids)), Batch())
    delivery.when_looked(behind)
    delivery.fail_all(ValueError("over"))
    assert first.fired
    assert behind.fired


def test_many_are_looked_at_some_at_a_time_and_not_what_has_ended_meanwhile() -> None:
    delivery = Delivery("store:", Latencies(lambda: 0.0))
    ids = [n.to_bytes(16, "big") for n in range(4 * MANY)]
    stream, signal, soon = Stream(), Signal(), Signal()
    stream.grow(len(ids))
    delivery.watch(ids, stream, range(len(ids)), Batch())
    delivery.when_looked(signal)

    def looked_at(*, beside: bool) -> list[bytes]:
        batch = Batch(outcomes=[Outcome(OTHER, 1, RunState.COMPLETED)] if beside else [])
        delivery.prepare(batch, [])
        delivery.deliver(Batch(), [], Committed())
        return batch.watch

    assert looked_at(beside=True) == ids[:FEW]
    ended = [Outcome(id_, 1, RunState.COMPLETED, "1") for id_ in ids[FEW : 2 * MANY]]
    delivery.deliver(Batch(outcomes=ended), [], Committed())
    assert len(stream.take()) == len(ended)
    assert looked_at(beside=False) == ids[2 * MANY : 3 * MANY]
    assert looked_at(beside=False) == ids[3 * MANY :]
    assert not signal.fired
    assert delivery.has_work
    assert looked_at(beside=False) == []
    assert signal.fired
    assert not delivery.has_work
    delivery.when_looked(soon)
    assert looked_at(beside=True) == []
    assert soon.fired


# --- spawns ----------------------------------------------------------------------------------------------------------


class Executors:
    """With room for so many."""

    def __init__(self, room: int) -> None:
        self.room = room

    def demand(self) -> int:
        return self.room

    def idle(self) -> bool:
        return False

    def serves(self, _: str) -> bool:
        return True

    def turn(self, *_: object) -> int:
        return 0


def spawns_of(attempt: int, count: int) -> list[Spawn]:
    kind = SpawnKind("t", parent_id=PARENT, parent_attempt=attempt, root_id=PARENT, depth=1)
    return [Spawn(kind, bytes([attempt, n]) * 8, bytes(16), "{}", n) for n in range(count)]


def planned(room: int, spawns: list[Spawn], *, ready: bool = False) -> tuple[Claims, Batch]:
    claims, batch, executors = Claims(one_at_a_time=True), Batch(spawns=spawns), Executors(room)
    claims.begin(["t"])
    claims.ready = ready
    claims.plan(batch, executors)  # type: ignore[arg-type]
    return claims, batch


def test_what_a_fenced_attempt_spawned_is_told_so_and_not_executed() -> None:
    """It was never born."""
    claims, batch = planned(9, [*spawns_of(1, 2), *spawns_of(2, 1)])
    committed = Committed(fenced_parents={(PARENT, 1)})
    assert [run.key for run in claims.learn(batch, committed)] == [batch.spawns[2].id]
    told: list[Any] = []
    request = SpawnRequest(spawns=batch.spawns[:2], on_done=lambda error, _, __: told.append(error))
    Delivery("store:", Latencies(lambda: 0.0)).deliver(batch, [request], committed)
    assert isinstance(told[0], AttemptFencedError)


@pytest.mark.parametrize("room", [0, 1, 2, 3])
def test_as_many_are_born_claimed_as_there_is_room_for_and_the_rest_is_looked_for(room: int) -> None:
    claims, batch = planned(room, spawns_of(1, 3))
    born = claims.learn(batch, Committed())
    assert len(born) == sum(spawn.claimed for spawn in batch.spawns) == room
    assert claims.ready == (room < 3)


def test_nothing_is_born_claimed_before_what_is_queued() -> None:
    claims, batch = planned(2, spawns_of(1, 3), ready=True)
    assert not any(spawn.claimed for spawn in batch.spawns)
    assert batch.claim is not None
    assert batch.claim.limit == 2
    assert claims.learn(batch, Committed()) == []


def test_one_claim_in_eight_takes_the_oldest() -> None:
    claims, fair = Claims(one_at_a_time=True), 0
    claims.begin(["t"])
    for _ in range(32):
        batch = Batch()
        claims.ready = True
        claims.plan(batch, Executors(1))  # type: ignore[arg-type]
        assert batch.claim is not None
        fair += batch.claim.fair
    assert fair == 4


def test_who_is_about_to_stop_claims_nothing() -> None:
    claims = Claims(one_at_a_time=True)
    claims.begin(["t"])
    claims.pause()
    batch = Batch(spawns=spawns_of(1, 2))
    claims.plan(batch, Executors(5))  # type: ignore[arg-type]
    assert batch.claim is None
    assert not any(spawn.claimed for spawn in batch.spawns)


def test_a_child_that_was_cancelled_with_its_parent_is_not_told_before_that() -> None:
    """The parent would go on with it. But a notice may be lost, and no result: who looks again is told."""
    delivery = Delivery("store:", Latencies(lambda: 0.0))
    ends = Committed(
        finished={
            ID: Finished(RunState.CANCELLED, None, ancestor_ended(PARENT, "was cancelled"), "t"),
            OTHER: Finished(RunState.CANCELLED, None, encode_failure(Failure("cancelled", message="by request")), "t"),
        }
    )
    collector, _ = waited_for(delivery, ID, OTHER)
    collector.owns = True
    for _ in range(2):
        delivery.deliver(Batch(), [], ends)
        assert [ended is not None for ended in collector.results] == [False, True]
    delivery.deliver(Batch(), [], ends)
    assert collector.complete
    others, _ = waited_for(delivery, ID)  # who has not asked for it
    delivery.deliver(Batch(), [], ends)
    assert others.complete


def test_a_run_whose_time_was_wanted_is_forgotten_with_its_wait() -> None:
    latencies = Latencies(lambda: 0.0)
    delivery = Delivery("store:", latencies)
    latencies.asked("slow", ID)
    collector, batch = waited_for(delivery, ID)
    delivery.give_up([ID], collector, batch)
    assert not latencies


def test_the_end_of_a_root_that_somebody_else_has_started_is_watched_for() -> None:
    """It may be executed anywhere, and nobody knows that we wait."""
    delivery, collector = Delivery("store:", Latencies(lambda: 0.0)), Collector(fail_fast=False)
    collector.grow(1)
    request = SpawnRequest(
        spawns=[Spawn(SpawnKind("t"), ID, None, "{}")], collector=collector, spawn_indexes=[0], watch=True
    )
    holder = Attached(OTHER, RunState.RUNNING, None, None, True, "t", "{}")
    delivery.deliver(Batch(spawns=request.spawns), [request], Committed(taken={ID: holder}))
    assert delivery.has_work
    batch = Batch()
    delivery.prepare(batch, [])
    assert batch.watch == [OTHER]
    delivery.deliver(batch, [], Committed(finished={OTHER: Finished(RunState.COMPLETED, "1", None, "t")}))
    assert [end and end.output for end in collector.results] == ["1"]
