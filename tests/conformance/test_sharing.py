"""Runs that several calls of a tree share: one run each, links to it, and what the end of either means to the other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fanwood import RunState
from fanwood.errors import StoreValueError
from fanwood.ids import short_text
from fanwood.model.commands import ClaimedRun, ClaimRequest, Committed, Outcome, Record, Spawn, SpawnKind
from fanwood.model.states import OnParentEnd, RunKind
from fanwood.store import sharing
from fanwood.store.auditing import findings
from fanwood.store.why import WhyCause, explain
from tests.conformance.stage import FAILURE, SECOND, Stage, completed, digest, failed, retried


def link(stage: Stage, parent: ClaimedRun, what: str = "x", **about: Any) -> Record:
    """A call of `parent` shares a run of task b."""
    root = bytes.fromhex(parent.root_id)
    priority, task = about.pop("priority", 1), about.pop("task", "b")
    kind = SpawnKind(task, parent_id=root, root_id=root, depth=1, priority=priority, on_parent_end=OnParentEnd.SHARED)
    share = Spawn(kind, stage.ids.new_id(), None, json.dumps(what), input_digest=digest(f"{task} {what}"))
    record = stage.part(parent, what, kind=RunKind.SHARE, share=share, **about)
    record.identity = digest(record.id.hex())
    return record


async def linked(stage: Stage, parent: ClaimedRun, what: str = "x", **about: Any) -> bytes:
    record = link(stage, parent, what, **about)
    done = await stage.commit(records=[record])
    assert not done.fenced_parents
    return record.id


async def claimed(stage: Stage, task: str = "b") -> ClaimedRun:
    (run,) = await stage.claim(100, tasks=[task])
    return run


async def family(stage: Stage, count: int = 2) -> tuple[ClaimedRun, list[ClaimedRun]]:
    root = await stage.running()
    return root, [await stage.running("c", root) for _ in range(count)]


async def sound(stage: Stage) -> None:
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


def finished(done: Committed) -> dict[bytes, tuple[RunState, str | None]]:
    return {id_: (end.state, end.output) for id_, end in done.finished.items()}


async def test_equal_ones_are_one_run_that_is_the_root_s(stage: Stage) -> None:
    root, (one, other) = await family(stage)
    links = [await linked(stage, one), await linked(stage, other), await linked(stage, root)]
    different = await linked(stage, other, "y")
    runs = await stage.claim(100, tasks=["b"])
    assert sorted(json.loads(run.input) for run in runs) == ["x", "y"]
    shared = next(run for run in runs if run.input == '"x"')
    assert (shared.parent_id, shared.root_id, shared.depth) == (root.id, root.id, 1)
    assert shared.child_index is None
    await sound(stage)
    told = finished(await stage.complete(shared, "7", local=False)) | finished(await stage.commit(mail=True))
    assert {id_: told.get(id_) for id_ in links} == dict.fromkeys(links, (RunState.COMPLETED, "7"))
    assert await stage.state(different) is RunState.WAITING
    late = await linked(stage, other, "x")
    assert (await stage.get(late)).output == "7"
    await sound(stage)


async def test_all_get_its_failure_and_who_tries_again_has_it_run_again(stage: Stage) -> None:
    root, (one, other) = await family(stage)
    first, second = await linked(stage, one), await linked(stage, other)
    await stage.fail(await claimed(stage))
    for id_ in (first, second):
        record = await stage.get(id_)
        assert (record.state, record.error) == (RunState.FAILED, FAILURE)
    third = await linked(stage, root)
    assert await stage.state(third) is RunState.FAILED
    again = await stage.retry(one)
    assert again is not None
    await stage.commit(records=[link(stage, again, id=first, again=True)])
    assert await stage.state(first) is RunState.WAITING
    await sound(stage)
    await stage.complete(await claimed(stage), "8")
    assert (await stage.get(first)).output == "8"
    assert await stage.state(second) is RunState.FAILED
    trying = await stage.retry(other)
    assert trying is not None
    await stage.commit(records=[link(stage, trying, id=second, again=True)])
    assert (await stage.get(second)).output == "8"
    await sound(stage)


async def test_links_end_with_what_a_claim_finds_closed(stage: Stage) -> None:
    """They are closed as well, and nobody would look at them any more."""
    root, (one, other) = await family(stage)
    links = [await linked(stage, one), await linked(stage, other)]
    stage.sweeps = False
    await stage.commit(outcomes=[failed(root, closes=True)], claim=ClaimRequest('["b"]', 5))
    assert {await stage.state(link_) for link_ in links} == {RunState.CANCELLED}
    await sound(stage)


async def test_the_last_link_takes_it_along_and_no_other(stage: Stage) -> None:
    _, (one, other) = await family(stage)
    first, second = await linked(stage, one), await linked(stage, other)
    shared = await claimed(stage)
    below = await stage.born("c", shared)
    await stage.cancel(first)
    assert await stage.state(shared) is RunState.RUNNING
    await stage.cancel(other)
    assert await stage.state(second) is RunState.CANCELLED
    assert await stage.state(shared) is RunState.CANCELLED
    await stage.sweep()
    assert await stage.state(below) is RunState.CANCELLED
    await sound(stage)
    third = await linked(stage, one)  # who asks now has it run again
    assert await stage.state(third) is RunState.WAITING
    run = await stage.claim_again(shared)
    assert run is not None
    await stage.complete(run, "9")
    assert (await stage.get(third)).output == "9"
    await sound(stage)


async def test_what_nobody_has_begun_goes_with_its_last_link_too(stage: Stage) -> None:
    _, (one, _) = await family(stage)
    await linked(stage, one)
    await stage.cancel(one)
    assert await stage.claim(10, tasks=["b"]) == []
    await sound(stage)


async def test_it_is_cancelled_from_outside(stage: Stage) -> None:
    _, (one, other) = await family(stage)
    links = [await linked(stage, one), await linked(stage, other)]
    shared = await claimed(stage)
    await stage.cancel(shared, "no more")
    for id_ in links:
        record = await stage.get(id_)
        assert record.state is RunState.CANCELLED
        assert "no more" in (record.error or "")
    await sound(stage)


@pytest.mark.parametrize("how", ["completed", "cancelled", "failed"])
async def test_its_root_ends_before_it(stage: Stage, how: str) -> None:
    root = await stage.running()
    one = await stage.running("c", root, on_parent_end=OnParentEnd.CONTINUE)
    await linked(stage, one)
    shared = await claimed(stage)
    again = await stage.hand_back(root)  # a later attempt, that asks for nothing of it
    if how == "completed":
        await stage.complete(again, closes=True)
        await stage.sweep()
        assert await stage.state(shared) is RunState.RUNNING
        await stage.complete(shared)
        late = await linked(stage, one, "late")
        assert await stage.state(late) is RunState.WAITING
        await sound(stage)
        return
    if how == "failed":
        await stage.fail(again, closes=True)
    else:
        await stage.cancel(again)
    await stage.sweep()
    assert await stage.state(shared) is RunState.CANCELLED
    assert await stage.state(one) is RunState.RUNNING
    late = await linked(stage, one, "late")  # nothing new is shared there
    assert await stage.state(late) is RunState.CANCELLED
    assert await stage.claim(10, tasks=["b"]) == []
    await sound(stage)


async def test_a_root_that_is_replayed_has_it_free_again(stage: Stage) -> None:
    stage.sweeps = False
    root = await stage.running()
    await linked(stage, root)
    await stage.store.cancel(root.key, "for a test")
    await stage.store.replay(root.key, {RunState.CANCELLED})
    again = await stage.claim_again(root)
    assert again is not None
    anew = await linked(stage, again)
    await stage.sweep()
    assert await stage.state(anew) is RunState.WAITING
    await stage.complete(await claimed(stage), "5")
    assert (await stage.get(anew)).output == "5"
    await sound(stage)


async def test_its_priority_is_the_highest_of_its_callers(stage: Stage) -> None:
    root, (one, other) = await family(stage)
    await linked(stage, one, priority=3)
    await linked(stage, other, priority=9)
    await linked(stage, root, priority=2)
    await stage.born("b", root, priority=5)
    assert [run.priority for run in await stage.claim(1, tasks=["b"])] == [9]


async def test_a_link_has_its_own_deadline(stage: Stage) -> None:
    _, (one, other) = await family(stage)
    soon = stage.clock.now() + SECOND
    first, second = await linked(stage, one, deadline=soon, deadline_by=one.key), await linked(stage, other)
    shared = await claimed(stage)
    stage.clock.advance(2)
    await stage.store.tick()
    assert await stage.state(first) is RunState.FAILED
    assert await stage.state(second) is RunState.WAITING
    await stage.complete(shared)
    assert await stage.state(second) is RunState.COMPLETED
    await sound(stage)


async def test_one_that_waits_is_asked_for_again_by_the_next_attempt(stage: Stage) -> None:
    root = await stage.running()
    record = link(stage, root)
    record.kind = SpawnKind(**{**_fields(record.kind), "on_parent_end": OnParentEnd.DEFAULT})
    await stage.commit(records=[record])
    again = await stage.hand_back(root)
    asked = link(stage, again, id=record.id, again=True)
    limit = stage.clock.now() + 90 * SECOND
    about = {"on_parent_end": OnParentEnd.DEFAULT, "deadline": limit, "deadline_by": root.key}
    asked.kind = SpawnKind(**{**_fields(asked.kind), **about})
    await stage.commit(records=[asked])
    assert (await stage.get(record.id)).deadline == limit
    await stage.complete(again, closes=True)  # it did not wait for it
    await stage.sweep()
    assert await stage.state(record.id) is RunState.WAITING
    await stage.complete(await claimed(stage), "4")
    assert (await stage.get(record.id)).output == "4"
    await sound(stage)


def _fields(kind: SpawnKind) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in kind.__struct_fields__}


async def test_circles_are_refused_with_the_way(stage: Stage) -> None:
    root = await stage.running()
    await linked(stage, root, "x", task="a")
    first = await claimed(stage, "a")
    inner = await stage.running("c", first)
    await linked(stage, inner, "y")
    second = await claimed(stage)
    itself = await linked(stage, second, "y")
    deep = await stage.running("c", second)
    await linked(stage, deep, "z", task="c")
    third = await claimed(stage, "c")
    fine = await linked(stage, deep, "w")
    circle = await linked(stage, third, "x", task="a")
    error = json.loads((await stage.get(itself)).error or "")
    assert error["type"] == "ShareCircleError"
    assert "asks for it" in error["message"]
    error = json.loads((await stage.get(circle)).error or "")
    assert error["type"] == "ShareCircleError"
    names = [error["message"].find(f"{run.task} {_text(run)}, which waits for") for run in (first, second)]
    assert -1 < names[0] < names[1]
    assert await stage.state(fine) is RunState.WAITING
    again = await linked(stage, third, "w")  # the other way round that is none
    assert await stage.state(again) is RunState.WAITING
    await sound(stage)


def _text(run: ClaimedRun) -> str:
    text = run.id.lower()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


async def test_nobody_looks_for_a_circle_of_what_is_born(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for nobody: a chain of shared runs would else cost as much as its square, and be refused at last."""
    monkeypatch.setattr(sharing, "MOST", 3)
    run, links = await stage.running(), list[bytes]()
    for n in range(6):
        links.append(await linked(stage, run, f"x {n}"))
        run = await claimed(stage)
    assert {await stage.state(each) for each in links} == {RunState.WAITING}
    last = await linked(stage, run, "x 5")
    assert await stage.state(last) is RunState.FAILED
    await sound(stage)


async def test_two_calls_of_one_commit_close_no_circle_together(stage: Stage) -> None:
    root = await stage.running()
    await stage.commit(records=[link(stage, root, "x"), link(stage, root, "y")])
    one, other = await stage.claim(2, tasks=["b"])
    first, second = link(stage, one, json.loads(other.input)), link(stage, other, json.loads(one.input))
    await stage.commit(records=[first, second])
    assert await stage.state(first.id) is RunState.WAITING
    assert await stage.state(second.id) is RunState.FAILED
    await sound(stage)


async def test_many_are_told_in_pages_whoever_does_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 2 * sharing.LINKS + 3
    root = await stage.running()
    links = [link(stage, root, f"x {n}") for n in range(count)]
    for number, each in enumerate(links):
        assert each.share is not None
        each.share.input_digest = digest("x")
        each.index = number
    for start in range(0, count, 500):
        await stage.commit(records=links[start : start + 500])
    done = await stage.complete(await claimed(stage), "1")
    assert done.has_closed  # the others are told by a tick, and not with the next look around

    async def ended() -> int:
        states = await stage.records()
        return sum(states[each.id].state is RunState.COMPLETED for each in links)

    assert await ended() == sharing.LINKS
    store = await stage.another_store()
    assert (await store.look_around(stage.worker, "host")).due is not None
    due = await store.tick()
    assert due is not None
    assert due <= stage.clock.now()
    while due is not None:
        due = await store.tick()
    assert await ended() == count
    await sound(stage)


async def test_large_outputs_are_told_to_few_at_once(stage: Stage) -> None:
    assert sharing.page_of("x" * 20_000_000) == 1
    assert sharing.page_of(None) == sharing.LINKS


async def test_the_fence_holds_for_links(stage: Stage) -> None:
    root = await stage.running()
    await stage.hand_back(root)
    done = await stage.commit(records=[link(stage, root)])
    assert done.fenced_parents == {(root.key, root.attempt)}
    assert await stage.claim(10, tasks=["b"]) == []


async def test_a_retry_of_what_is_shared_is_one_of_its_own(stage: Stage) -> None:
    _, (one, _) = await family(stage)
    waits = await linked(stage, one)
    shared = await claimed(stage)
    await stage.report(retried(shared))
    assert await stage.state(waits) is RunState.WAITING
    await stage.complete(await claimed(stage), "3")
    assert (await stage.get(waits)).output == "3"


async def test_a_link_to_what_its_workers_died_of_has_not_died_itself(stage: Stage) -> None:
    _, (one, _) = await family(stage)
    other = await stage.register(name="other")
    link_ = await linked(stage, one)
    await stage.claim(tasks=["b"], worker=other)
    await stage.store.reap(other, 1)
    assert ((record := await stage.get(link_)).state, record.deaths) == (RunState.FAILED, 0)
    await sound(stage)


async def test_it_goes_with_its_tree(stage: Stage) -> None:
    root, _ = await family(stage, 0)
    await linked(stage, root)
    await stage.complete(await claimed(stage))
    await stage.complete(root)
    stage.clock.advance(10)
    assert await stage.store.count("shared") == 1
    await stage.store.prune(stage.clock.now(), 100)
    assert await stage.store.count("shared") == 0
    assert await stage.store.count("run") == 0


async def test_why_it_waits(stage: Stage) -> None:
    root = await stage.running()
    waits = await linked(stage, root)
    shared = await claimed(stage)
    why = explain(await stage.store.circumstances(waits))
    assert why.cause is WhyCause.WAITING
    assert f"it waits for the shared run {short_text(shared.key)} of b, RUNNING since" in why.text
    assert why.command == f"fanwood why {short_text(shared.key)}"


async def test_an_end_that_was_undone_is_told_when_it_comes_again(stage: Stage) -> None:
    _, (one, other) = await family(stage)
    links = [await linked(stage, one), await linked(stage, other)]
    shared = await claimed(stage)
    with pytest.raises(StoreValueError):
        await stage.commit(outcomes=[completed(shared, "7")], blocks=[(one.key, 2**70)])
    await stage.complete(shared, "7")
    assert [await stage.state(id_) for id_ in links] == [RunState.COMPLETED] * 2
    await sound(stage)


@pytest.mark.parametrize("swept", [True, False])
async def test_what_is_below_what_is_shared_again_before_all_is_swept_ends(stage: Stage, swept: bool) -> None:
    """What a life before this one of the root had closed; also if it lived still: it begins anew then."""
    stage.sweeps = False
    root = await stage.running()
    await linked(stage, root)
    shared = await claimed(stage)
    child = await stage.running("c", shared)
    last = await stage.born("d", child)
    await stage.report(Outcome(root.key, root.attempt, RunState.QUEUED, "{}", renews=True))
    await stage.report(*map(completed, [shared, child] if swept else [child]))
    assert await stage.state(child) is RunState.CANCELLED
    root = await claimed(stage, "a")
    await linked(stage, root)
    assert await stage.state(shared) is RunState.QUEUED
    assert await stage.state(last) is RunState.QUEUED
    assert await stage.sweep() > 0
    assert await stage.state(last) is RunState.CANCELLED
    assert (await claimed(stage)).attempt == 2
    await sound(stage)


@pytest.mark.parametrize("of", ["root", "child"])
async def test_a_link_is_asked_for_again_before_what_was_closed_is_swept(stage: Stage, of: str) -> None:
    """It would end with what it shares, as that was to end, and he who asks now would be told that he is cancelled."""
    stage.sweeps = False
    root, (child,) = await family(stage, 1)
    asks = root if of == "root" else child
    first = await linked(stage, asks)
    shared = await claimed(stage)
    below = await stage.born("c", shared)
    await stage.store.cancel(root.key, "for a test")
    await stage.store.replay(root.key, {RunState.CANCELLED})
    (asks,) = await stage.claim(1, tasks=["a"])
    if of == "child":
        await stage.attach(asks, child.key, "c")
        (asks,) = [run for run in await stage.claim(9, tasks=["c"]) if run.id == child.id]
    await stage.commit(records=[link(stage, asks, id=first, again=True)])
    await stage.sweep()
    assert await stage.state(first) is RunState.WAITING
    assert await stage.state(below) is RunState.CANCELLED
    again = await claimed(stage)
    assert (again.id, again.attempt) == (shared.id, 2)
    await stage.complete(again, "5")
    assert (await stage.get(first)).output == "5"
    await sound(stage)
