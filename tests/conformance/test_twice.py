"""What comes twice in one batch, as a tick takes what several asked for: it is done once, or one after the other. It is
never a reason to refuse the batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fanwood import RunState
from fanwood.model.commands import Batch, Hedge, LogLine, Suspend
from fanwood.model.states import Awaited
from fanwood.store.auditing import findings
from tests.conformance.stage import SECOND, Stage, completed, failed, handed_back, retried

BORN = {"spawns", "records", "marks"}
"""What has an id of its own: one that comes twice is a mistake."""

Case = Callable[[Stage], Awaitable[dict[str, list[Any]]]]


async def lines(stage: Stage) -> dict[str, list[Any]]:
    run = await stage.running()
    return {"logs": [LogLine(run.key, run.attempt, 1, "info", "the same")] * 2}


async def progress(stage: Stage) -> dict[str, list[Any]]:
    run = await stage.running()
    return {"logs": [LogLine(run.key, run.attempt, 1, "progress", word) for word in ("first", "last")]}


async def attaches(stage: Stage) -> dict[str, list[Any]]:
    parent = await stage.running()
    return {"attaches": [stage.attachment(parent, await stage.born("b", parent), "b")] * 2}


async def revivals(stage: Stage) -> dict[str, list[Any]]:
    parent = await stage.running()
    child = await stage.running("b", parent)
    await stage.fail(child)
    again = await stage.retry(parent)
    assert again is not None
    return {"attaches": [stage.attachment(again, child.key, "b")] * 2}


async def completions(stage: Stage) -> dict[str, list[Any]]:
    parent = await stage.running()
    return {"outcomes": [completed(await stage.running("b", parent), "1")] * 2}


async def failures(stage: Stage) -> dict[str, list[Any]]:
    parent = await stage.running()
    await stage.born("b", parent)
    return {"outcomes": [failed(parent, closes=True)] * 2}


async def retries(stage: Stage) -> dict[str, list[Any]]:
    return {"outcomes": [retried(await stage.running(), 5)] * 2}


async def returns(stage: Stage) -> dict[str, list[Any]]:
    return {"outcomes": [handed_back(await stage.running())] * 2}


async def suspends(stage: Stage) -> dict[str, list[Any]]:
    parent = await stage.running()
    child = await stage.born("b", parent)
    return {"suspends": [Suspend(parent.key, parent.attempt, [(child, int(Awaited.ONE_OF))], 1)] * 2}


async def deadlines(stage: Stage) -> dict[str, list[Any]]:
    run = await stage.running()
    await stage.born("b", run)
    return {"deadlines": [(run.key, run.attempt, stage.clock.now() + n * SECOND) for n in (5, 6)]}


async def watches(stage: Stage) -> dict[str, list[Any]]:
    return {"watch": [await stage.born()] * 2}


async def unwatches(stage: Stage) -> dict[str, list[Any]]:
    run = await stage.born()
    await stage.commit(watch=[run])
    return {"unwatch": [run] * 2}


async def acknowledgements(stage: Stage) -> dict[str, list[Any]]:
    run = await stage.running()
    await stage.store.cancel(run.key, "for a test")
    return {"heard": [run.key] * 2}


async def blocks(stage: Stage) -> dict[str, list[Any]]:
    return {"blocks": [((await stage.running()).key, 10_000)] * 2}


async def hedges(stage: Stage) -> dict[str, list[Any]]:
    parent = await stage.running()
    first = await stage.running("b", parent)
    twice = [Hedge(stage.spawn("b", parent), first.key, 5 * SECOND) for _ in range(2)]
    for hedge in twice:
        hedge.spawn.identity = None
    return {"hedges": twice}


CASES: dict[str, list[Case]] = {
    "logs": [lines, progress],
    "attaches": [attaches, revivals],
    "hedges": [hedges],
    "outcomes": [completions, failures, retries, returns],
    "suspends": [suspends],
    "deadlines": [deadlines],
    "watch": [watches],
    "unwatch": [unwatches],
    "heard": [acknowledgements],
    "blocks": [blocks],
}


@pytest.mark.parametrize("case", [case for cases in CASES.values() for case in cases], ids=lambda case: case.__name__)
async def test_what_comes_twice_refuses_no_batch(stage: Stage, case: Case) -> None:
    batch, stage.sweeps = await case(stage), False
    bystander = await stage.running("c")
    await stage.commit(**{**batch, "outcomes": [*batch.get("outcomes", ()), completed(bystander, "7")]})
    assert await stage.state(bystander) is RunState.COMPLETED
    assert all(case in CASES[field] for field in batch)
    await stage.sweep()
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


def test_every_field_of_a_batch_comes_twice() -> None:
    lists = {name for name in Batch.__struct_fields__ if isinstance(getattr(Batch(), name), list)}
    assert set(CASES) == lists - BORN
