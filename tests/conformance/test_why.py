"""Why a run is where it is: by every store the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fanwood.model.states import OnParentEnd, RunState
from fanwood.store import why as module
from fanwood.store.why import Why, WhyCause, explain
from tests.conformance.stage import SECOND, Stage, put_off, retried

if TYPE_CHECKING:
    from fanwood.model.commands import ClaimedRun


async def why(stage: Stage, run: ClaimedRun | bytes) -> Why:
    return explain(await stage.store.circumstances(run if isinstance(run, bytes) else run.key))


async def test_nobody_serves_it(stage: Stage) -> None:
    id_ = await stage.born("nobodys")
    said = await why(stage, id_)
    assert (said.cause, said.status) == (WhyCause.NO_WORKER, RunState.QUEUED)
    assert "no live worker serves nobodys" in said.text
    await stage.register(["nobodys"], slots=0)  # a client
    assert (await why(stage, id_)).cause is WhyCause.NO_WORKER
    await stage.register(["nobodys"], lease=5)
    assert (await why(stage, id_)).cause is WhyCause.STARTING
    stage.clock.advance(6)
    assert (await why(stage, id_)).cause is WhyCause.NO_WORKER


async def test_others_are_ahead(stage: Stage) -> None:
    for _ in range(3):
        await stage.running()  # of four slots
    ids = [await stage.born() for _ in range(2)]
    first = await stage.born(priority=3)
    found = {id_: await why(stage, id_) for id_ in (first, *ids)}
    assert [found[id_].facts["ahead"] for id_ in (first, *ids)] == [0, 1, 2]
    assert [found[id_].cause for id_ in (first, *ids)] == [
        WhyCause.STARTING, WhyCause.SLOTS_BUSY, WhyCause.SLOTS_BUSY,
    ]  # fmt: skip
    assert found[first].facts | {"workers": 1} == {
        "workers": 1, "slots": 4, "running": 3, "place": 1, "ahead": 0,
    }  # fmt: skip
    assert "2 runs are ahead" in found[ids[1]].text
    assert "1 run is ahead" in found[ids[0]].text


async def test_so_many_are_ahead_that_it_does_not_count_them(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fanwood.store.why", "fanwood.store.memory.why"):
        monkeypatch.setattr(f"{name}.FAR", 2)
    ids = [await stage.born() for _ in range(3)]
    last = await why(stage, ids[2])
    assert (last.cause, last.facts["ahead"]) == (WhyCause.SLOTS_BUSY, None)
    assert "more than 1 runs are ahead" in last.text
    assert (await why(stage, ids[1])).facts["ahead"] == 1


async def test_a_worker_of_its_own_program_only(stage: Stage) -> None:
    await stage.register(["particular"], programs=[7])
    said = await why(stage, await stage.born("particular"))
    assert "1 of them only below roots of their own program" in said.text


async def test_it_waits_until_it_is_due(stage: Stage) -> None:
    run = await stage.running()
    await stage.report(retried(run, 90))
    said = await why(stage, run)
    assert (said.cause, said.facts["retry"]) == (WhyCause.DELAYED, 1)
    assert "queued again in 90 s, for retry 1 (its last attempt failed:" in said.text


async def test_it_waits_for_a_worker_with_other_code(stage: Stage) -> None:
    """That is said of it, and among what is wrong with the store, once several had it; and nothing is charged."""
    run, other = await stage.running(), await stage.running()
    await stage.report(put_off(run), put_off(other, 1), retried(await stage.running(), 90))
    said = await why(stage, run)
    assert said.cause is WhyCause.OTHER_CODE
    assert "it waits for a worker with other code: it began with version '1'. It is queued again in 40 s" in said.text
    assert said.command == "fanwood worker MODULE:APP"  # with that code
    assert [each for each in (await stage.store.report()).problems if "other code" in each] == [
        (
            "1 run of a, the oldest created 0.0 s ago, waits for a worker with other code. Of each: it began with "
            "version '1'"
        )
    ]
    record = await stage.get(run)
    assert (record.state, record.retry_count, record.attempt) == (RunState.WAITING, 0, 1)
    stage.clock.advance(41)
    await stage.store.tick()
    assert {each.id for each in await stage.claim(10)} >= {run.id, other.id}
    assert [each for each in (await stage.store.report()).problems if "other code" in each] == []


async def test_it_waits_for_its_children(stage: Stage) -> None:
    parent = await stage.running()
    done = await stage.born("b", parent, claimed=True)
    running = await stage.born("b", parent, claimed=True)
    queued = [await stage.born("b", parent) for _ in range(2)]
    (child,) = [each for each in await stage.store.children(parent.key) if each.id == done]
    assert child.state is RunState.RUNNING
    stage.clock.advance(3)
    said = await why(stage, parent)
    assert said.cause is WhyCause.WAITING_FOR_CHILDREN
    assert said.facts["children"] == {"QUEUED": 2, "RUNNING": 2}
    assert (said.facts["oldest"], said.facts["slowest"]) == (str_of(done), str_of(done))
    assert (said.command or "").startswith("fanwood why ")
    for id_ in (done, running, *queued):
        await stage.cancel(id_)
    assert (await why(stage, parent)).cause is WhyCause.EXECUTING


async def test_of_very_many_children_the_newest_are_looked_at(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fanwood.store.why", "fanwood.store.memory.why"):
        monkeypatch.setattr(f"{name}.FAR", 2)
    parent = await stage.running()
    for _ in range(3):
        await stage.born("b", parent)
    said = await why(stage, parent)
    assert "at least 2 children" in said.text


async def test_it_executes_against_what_is_usual(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENOUGH", 3)
    stage.worker = await stage.register(lease=1000)
    for parent in (None, await stage.running("c")):
        for seconds in (1, 2, 3):
            other = await stage.running("a", parent)
            stage.clock.advance(seconds)
            await stage.complete(other)
        run = await stage.running("a", parent)
        stage.clock.advance(5)
        said = await why(stage, run)
        assert said.cause is WhyCause.EXECUTING
        seconds = [
            round(said.facts[name] / SECOND) for name in ("executing", "p50", "p99")
        ]  # (instants differ by 1 us)
        assert seconds == [5, 2, 3]
        assert "p99 of a is" in said.text


async def test_its_worker_has_taken_more_than_it_has_slots(stage: Stage) -> None:
    """Which of them execute nobody else knows: so it is not said that this one does."""
    stage.worker = await stage.register(slots=2)
    runs = [await stage.running() for _ in range(2)]
    stage.clock.advance(3)
    said = await why(stage, runs[0])
    assert "has been executing for 3.0 s" in said.text
    assert "slots" not in said.facts
    late = await stage.running()
    said = await why(stage, late)
    assert said.cause is WhyCause.EXECUTING
    assert "by a worker with 2 slots and 3 runs: it executes, or waits there for a slot" in said.text
    assert (said.facts["slots"], said.facts["running"]) == (2, 3)
    await stage.complete(runs[0])
    assert "has been executing for" in (await why(stage, late)).text


async def test_its_worker_is_lost(stage: Stage) -> None:
    run = await stage.running(worker=await stage.register(lease=5))
    assert (await why(stage, run)).cause is WhyCause.EXECUTING
    stage.clock.advance(6)
    assert (await why(stage, run)).cause is WhyCause.LOST


async def test_something_above_it_ended(stage: Stage) -> None:
    parent = await stage.running()
    child = await stage.born("b", parent)
    free = await stage.born("b", parent, on_parent_end=OnParentEnd.CONTINUE)
    await stage.store.cancel(parent.key, "not needed")  # and nobody has swept yet
    said = await why(stage, child)
    assert (said.cause, said.facts["ended"]) == (WhyCause.CLOSING, str_of(parent.key))
    assert (await why(stage, free)).cause in {WhyCause.STARTING, WhyCause.SLOTS_BUSY}


async def test_it_has_ended(stage: Stage) -> None:
    done, bad, gone = [await stage.running() for _ in range(3)]
    await stage.complete(done)
    await stage.fail(bad)
    await stage.cancel(gone, "nobody wants it")
    causes = [(await why(stage, run)).cause for run in (done, bad, gone)]
    assert causes == [WhyCause.COMPLETED, WhyCause.FAILED, WhyCause.CANCELLED]
    assert "nobody wants it" in (await why(stage, gone)).text


async def test_it_is_a_suspect(stage: Stage) -> None:
    id_ = await stage.born()
    for _ in range(2):
        other = await stage.register()
        await stage.claim(worker=other)
        await stage.store.reap(other, 3)
    assert (await why(stage, id_)).cause is WhyCause.SUSPECT


def str_of(id_: bytes) -> str:
    return module.id_text(id_)


@pytest.mark.parametrize("met", [False, True])
async def test_it_is_paused_and_nobody_serves_it(stage: Stage, met: bool) -> None:
    """Also once a claim has met it."""
    id_ = await stage.born("nobodys")
    await stage.store.pause(id_, "ann")
    worker = await stage.register(["nobodys"], lease=5)
    said = await why(stage, id_)
    assert said.cause is WhyCause.PAUSED
    assert "paused by ann" in said.text
    assert "served" not in said.text
    assert "serves" not in said.text
    if met:
        assert await stage.claim(1, tasks=["nobodys"], worker=worker) == []
        assert await stage.state(id_) is RunState.WAITING
        assert "serves" not in (await why(stage, id_)).text
    stage.clock.advance(6)
    said = await why(stage, id_)
    assert said.cause is WhyCause.PAUSED
    assert "no live worker serves nobodys" in said.text
    assert (said.facts["by"], said.facts["workers"]) == ("ann", [])
    assert said.command is not None
    assert said.command.startswith("fanwood runs resume ")


@pytest.mark.parametrize("how", ["failed", "other code"])
async def test_it_waits_until_it_is_due_and_is_paused(stage: Stage, how: str) -> None:
    run = await stage.running()
    await stage.report(retried(run, 90) if how == "failed" else put_off(run))
    await stage.store.pause(run.key, "ann")
    said = await why(stage, run)
    assert said.cause is (WhyCause.DELAYED if how == "failed" else WhyCause.OTHER_CODE)
    assert "it is paused by ann" in said.text
    assert "it does not begin before that ends" in said.text
    assert said.facts["by"] == "ann"
    assert "due_at" in said.facts


async def test_a_pause_is_said_once(stage: Stage) -> None:
    root = await stage.running()
    await stage.born("b", root)
    await stage.store.pause(root.key, "ann")
    said = await why(stage, root)
    assert said.cause is WhyCause.WAITING_FOR_CHILDREN
    assert said.text.count("paused by ann") == 1
    assert said.facts["by"] == "ann"
    assert said.command is not None
    assert said.command.startswith("fanwood runs resume ")
