"""What is measured by `closing.py`: each scenario on a database of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import closing_states as states
from benchmarks.closing_looking import signal
from benchmarks.closing_stage import CALM, SETTLED, Figure, Stage, made, stage
from benchmarks.closing_tasks import LIMIT, PARENT, TIMED, begun_after
from benchmarks.databases import POSTGRES, SQLITE, Database
from benchmarks.history import Row
from fanwood.ids import SystemIds, id_text

RECORDED = {POSTGRES: 0.1, SQLITE: 0.3}
ALL_CLOSED = 10.0
DEPTH = 6
UNDER_LOAD = 0.5
AHEAD = SETTLED + CALM + 5.0
AFTER = 1.0
"""So long it is looked at what was disturbed at last."""
WRITTEN = 15_000
"""Timers are due so many seconds after it was begun to write them, and a second more for so many."""

OPEN = "select count(*) from gate where what = 1"
STATE = "select state from run where id = ?"
LIVING = "select count(*) from run where root_id = ? and parent_id is not null and state < 8"
BEGUN = f"select count(*) from run where root_id = ? and priority = {states.URGENT} and depth = 1 and started_at > 0"
"""Of those that execute groups and streams."""
COMPLETED = "select count(*) from run where root_id = ? and parent_id is not null and state = 8"


@dataclass(frozen=True)
class Sizes:
    """How large each scenario is."""

    children: int = 300_000
    tree: int = 100_000
    cancels: int = 3
    timers: int = 1_000_000
    expiring: int = 100_000
    parents: int = 100_000


Scenario = Callable[[Database, Sizes], Coroutine[Any, Any, list[Figure]]]
Tree = Callable[[bytes, int, int, int], Iterator[Row]]


# --- a parent that ends ----------------------------------------------------------------------------------------------


def parent_that(how: str) -> Scenario:
    """Half of its children have completed; the others end with it."""

    async def scenario(database: Database, sizes: Sizes) -> list[Figure]:
        await made(database)
        root = SystemIds().new_id()
        rows = states.fan_out(root, TIMED if how == "time out" else PARENT, how, sizes.children)
        async with stage(database, rows) as on:
            calm = await on.calm()
            ended = await _end(on, root, how)
            recorded = await on.eye.until(lambda state: state >= 8, STATE, root, every=0.001)
            closed = await on.eye.until(lambda count: count == 0, OPEN)
            await asyncio.sleep(AFTER)  # what was disturbed at last
            figures = [
                Figure("until its end is recorded", recorded - ended, "s", RECORDED[database.store]),
                Figure("until all is closed", closed - ended, "s", ALL_CLOSED),
                *on.undisturbed(calm, ended, max(closed, ended + AFTER)),
                Figure("living below it then", await on.eye.value(LIVING, root), "", 0),
                Figure("completed children that are no more", await _lost(on, root, sizes), "", 0),
            ]
            return [*figures, *on.taken_for_lost()]

    return scenario


async def _lost(on: Stage, root: bytes, sizes: Sizes) -> int:
    return sizes.children // 2 - await on.eye.value(COMPLETED, root)


async def _end(on: Stage, root: bytes, how: str) -> float:
    """When it came to its end."""
    if how == "time out":
        started = await on.eye.value("select started_at from run where id = ?", root)
        ended = started / 1e6 + LIMIT.total_seconds()
        await asyncio.sleep(max(0.0, ended - time.time()))
        return ended
    signal(on.folder, "go")
    mark = on.folder / "mark"
    while not (mark.exists() and (text := mark.read_text())):
        await asyncio.sleep(0.001)
    return float(text)


async def cancelled_parent(database: Database, sizes: Sizes) -> list[Figure]:
    """Recorded is what the call has done when it returns; it is looked at beside it."""
    await made(database)
    root = SystemIds().new_id()
    async with stage(database, states.fan_out(root, PARENT, "cancel", sizes.children)) as on:
        calm = await on.calm()
        called = time.time()
        call = asyncio.create_task(on.app.runs.aio_cancel(id_text(root)))
        recorded = await on.eye.until(lambda state: state >= 8, STATE, root, every=0.001)
        await call
        returned = time.time()
        closed = await on.eye.until(lambda count: count == 0, OPEN)
        await asyncio.sleep(AFTER)
        figures = [
            Figure("until its end is recorded", recorded - called, "s", RECORDED[database.store]),
            Figure("the call", returned - called, "s", 0.5),
            Figure("until all is closed", closed - called, "s", ALL_CLOSED),
            *on.undisturbed(calm, called, max(closed, called + AFTER)),
            Figure("living below it then", await on.eye.value(LIVING, root), "", 0),
            Figure("completed children that are no more", await _lost(on, root, sizes), "", 0),
        ]
        return [*figures, *on.taken_for_lost()]


# --- a tree that is cancelled under load -----------------------------------------------------------------------------


def cancels(tree: Tree, endless: int = 0) -> Scenario:
    """The worst of several. `endless`: so many of its runs execute groups and streams."""

    async def scenario(database: Database, sizes: Sizes) -> list[Figure]:
        all_figures = [await _cancel(database, sizes, tree, endless) for _ in range(sizes.cancels)]
        worst = [max(same, key=lambda figure: figure.value) for same in zip(*all_figures, strict=True)]
        return [Figure("how often", sizes.cancels, ""), *worst]

    return scenario


async def _cancel(database: Database, sizes: Sizes, tree: Tree, endless: int) -> list[Figure]:
    worker = await made(database, worker=True)
    root = SystemIds().new_id()
    async with stage(database, tree(root, sizes.tree, DEPTH, worker), 2) as on:
        await on.eye.until(lambda count: count >= endless, BEGUN, root)
        await asyncio.sleep(UNDER_LOAD)
        called = time.time()
        await on.app.runs.aio_cancel(id_text(root))
        returned = time.time()
        closed = await on.eye.until(lambda count: count == 0, OPEN)
        await asyncio.sleep(AFTER / 2)
        late = "select count(*) from run where root_id = ? and parent_id is not null and started_at > ?"
        began = await on.eye.value(COMPLETED, root)
        return [
            Figure("the call", returned - called, "s", 0.5),
            Figure("until all is closed", closed - called, "s", 5),
            Figure("started after it had returned, by the tasks", begun_after(on.folder, returned), "", 0),
            Figure("the same, by the database", await on.eye.value(late, root, round(returned * 1e6)), "", 0),
            Figure("completed before", began, ""),
            Figure("living below it then", await on.eye.value(LIVING, root), "", 0),
            Figure(
                "largest time between two heartbeats",
                on.heartbeats.largest_gap(called, closed),
                "s",
                2 * on.app.settings.heartbeat,
            ),
            *on.taken_for_lost(),
        ]


# --- many at a time --------------------------------------------------------------------------------------------------


async def due_timers(database: Database, sizes: Sizes) -> list[Figure]:
    left = "select count(*) from (select 1 from run where state = 2 and due_at is not null limit 1) n"
    return await _by_the_clock(database, sizes.timers, states.due, left, 20_000)


async def expired_runs(database: Database, sizes: Sizes) -> list[Figure]:
    left = "select count(*) from (select 1 from run where state in (0, 2) and expires_at is not null limit 1) n"
    return await _by_the_clock(database, sizes.expiring, states.expiring, left, None)


async def _by_the_clock(
    database: Database, runs: int, make: Callable[[int, int], Iterator[Row]], left: str, least: float | None
) -> list[Figure]:
    """All of them are due at one moment, late enough for them to be written, and for the workers to come up."""
    await made(database)
    at = time.time() + AHEAD + runs / WRITTEN
    async with stage(database, make(runs, round(at * 1e6))) as on:
        calm = await on.calm()
        assert calm[1] < at, "it took too long to write them: some were due before all were there"
        await asyncio.sleep(at - calm[1])
        over = await on.eye.until(lambda count: count == 0, left)
        await asyncio.sleep(AFTER)
        return [
            Figure("until all are", over - at, "s"),
            Figure("that is", runs / (over - at), "/s", least, least=True),
            *on.undisturbed(calm, at, max(over, at + AFTER)),
            *on.taken_for_lost(),
        ]


async def dead_worker(database: Database, sizes: Sizes) -> list[Figure]:
    worker = await made(database, worker=True)
    async with stage(database, states.parents(sizes.parents, worker)) as on:
        calm = await on.calm()
        await on.eye.rows("update lease set expires_at = ? where worker_id = ?", round(calm[1] * 1e6), worker)
        over = await on.eye.until(lambda count: count == 0, "select count(*) from worker where id = ?", worker)
        await asyncio.sleep(AFTER)
        charged = "select count(*) from run where deaths > 0"
        return [
            Figure("until all are queued again", over - calm[1], "s"),
            Figure("that is", sizes.parents / (over - calm[1]), "/s"),
            *on.undisturbed(calm, calm[1], max(over, calm[1] + AFTER)),
            Figure("charged, though they waited", await on.eye.value(charged), "", 0),
            *on.taken_for_lost(),
        ]


SCENARIOS: dict[str, tuple[str, Scenario]] = {
    "fails": ("a parent with {children:,} children, half of them finished, fails", parent_that("fail")),
    "completes": ("the same completes, and the others are to end with it", parent_that("complete")),
    "times-out": ("the same times out", parent_that("time out")),
    "cancelled": ("the same is cancelled", cancelled_parent),
    "tree": ("a tree of {tree:,} runs, six levels deep, is cancelled under load", cancels(states.deep_tree)),
    "busy": (
        "the same with groups and streams under way in it",
        cancels(states.busy_tree, states.ENDLESS),
    ),
    "timers": ("{timers:,} timers are due", due_timers),
    "expired": ("{expiring:,} queued runs have expired", expired_runs),
    "dead": ("a worker with {parents:,} parents is dead", dead_worker),
}
