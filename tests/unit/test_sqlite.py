"""What a SQLite file is told to have on the disk before a verb returns: all, but for what would be done again; and
what is looked at before a transaction is looked at in it once more."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from fanwood import RunState, SystemClock
from fanwood.errors import StoreValueError
from fanwood.model.commands import Batch, ClaimRequest, Outcome, TaskInfo, WorkerInfo
from fanwood.model.records import LeftOver
from fanwood.model.states import TERMINAL
from fanwood.store.sqlite import reading
from fanwood.store.sqlite.chores import _SQL as _CHORES
from fanwood.store.sqlite.hot import _SQL as _SPAWNING
from fanwood.store.sqlite.outside import _SQL as _OUTSIDE
from fanwood.store.sqlite.pauses import SQL as _PAUSES
from fanwood.store.sqlite.store import SqliteStore
from fanwood.store.store import START
from fanwood.worker.leftovers import _runs
from tests.conformance.stage import FAILURE, SECOND, Stage, completed, failed

FULL, NORMAL = 2, 1


class Watched:
    """A store, and how it was told to sync when it committed."""

    def __init__(self, path: Path) -> None:
        self.stage = Stage(lambda clock: SqliteStore(path, clock))
        self.levels: list[int] = []

    @property
    def store(self) -> SqliteStore:
        assert isinstance(self.stage.store, SqliteStore)
        return self.stage.store

    async def open(self) -> None:
        await self.stage.open()
        connection: Any = self.store._connection

        def traced(_: object, sql: str, __: object) -> bool:
            if sql == "commit":
                connection.exec_trace = None
                self.levels.append(int(connection.pragma("synchronous")))
                connection.exec_trace = traced
            return True

        connection.exec_trace = traced

    async def levels_of(self, verb: Awaitable[object]) -> list[int]:
        self.levels.clear()
        await verb
        return list(self.levels)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path / "fanwood.db")
    await watched.open()
    yield watched
    await watched.stage.close()


async def test_whatever_is_acknowledged_is_on_the_disk(watched: Watched) -> None:
    stage, store = watched.stage, watched.store
    root = await stage.running()
    child = await stage.running("b", root)
    other = await stage.register()
    about = WorkerInfo("w", "host", 1, 1, ("a",), 10 * SECOND)
    stage.sweeps = False

    async def commit(**batch: Any) -> object:
        return await store.commit(stage.worker, Batch(**batch))

    failed = Outcome(child.key, 1, RunState.FAILED, None, FAILURE)
    verbs: dict[str, Callable[[], Awaitable[object]]] = {
        "register": lambda: store.register(about, [TaskInfo("a", "task")]),
        "publish": lambda: store.publish(stage.worker, [TaskInfo("c", "task")]),
        "renew": lambda: store.renew(stage.worker),
        "spawn": lambda: commit(spawns=[stage.spawn("c")]),
        "claim": lambda: commit(claim=ClaimRequest('["c"]', 1)),
        "watch": lambda: commit(watch=[root.key]),
        "report": lambda: commit(outcomes=[failed]),
        "replay": lambda: store.replay(child.key, TERMINAL),
        "cancel": lambda: store.cancel(root.key, "no more"),
        "unregister": lambda: store.unregister(other),
        "copy in": lambda: store.copy_in("run", []),
        "fail what is unreadable": lambda: store.fail_unreadable('["a"]'),
    }
    for name, verb in verbs.items():
        levels = await watched.levels_of(verb())
        assert levels, name
        assert set(levels) == {FULL}, name
    assert set(await watched.levels_of(store.sweep())) == {NORMAL}  # the gate is there still
    assert set(await watched.levels_of(store.reap(stage.worker, 3))) == {FULL}
    stage.clock.advance(5)
    assert set(await watched.levels_of(store.prune(stage.clock.now(), 100, START))) == {FULL}


async def test_what_fires_is_done_again_and_what_fails_by_a_time_is_not(watched: Watched) -> None:
    stage = watched.stage
    late, due = await stage.born("a", schedule_timeout=9 * SECOND), await stage.running("b")
    await stage.report(Outcome(due.key, 1, RunState.QUEUED, None, FAILURE, retry=True, delay=5 * SECOND))
    stage.clock.advance(6)
    assert await watched.levels_of(watched.store.tick()) == [NORMAL]
    stage.clock.advance(6)
    levels = await watched.levels_of(watched.store.tick())
    assert levels[-1] == FULL
    assert await stage.state(late) is RunState.FAILED
    assert await watched.levels_of(stage.commit(spawns=[stage.spawn()])) == [FULL]


async def test_after_a_sweep_that_failed_all_is_synced_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = watched.stage
    root = await stage.running()
    await stage.born("b", root)
    await stage.store.cancel(root.key, "no more")

    def fails(*_: object) -> None:
        raise StoreValueError("not now")

    monkeypatch.setattr(watched.store._sweeping, "sweep", fails)
    with pytest.raises(StoreValueError):
        await stage.store.sweep()
    assert await watched.levels_of(stage.commit(spawns=[stage.spawn()])) == [FULL]


async def test_whoever_opens_it(tmp_path: Path) -> None:
    """Also the second, who finds a file that is there."""
    for _ in range(2):
        watched = Watched(tmp_path / "fanwood.db")
        await watched.open()
        assert await watched.levels_of(watched.stage.register()) == [FULL]
        await watched.stage.close()


@pytest.mark.parametrize("which", ["the root", "a child", "what is below it"])
async def test_what_is_replayed_after_a_look_is_not_deleted(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """Retention looks without a lock, and somebody has his turn before it deletes."""
    stage, store = watched.stage, watched.store
    root = await stage.running()
    child = await stage.running("b", root)
    leaf = await stage.running("c", child)
    for run in (leaf, child, root):
        await stage.complete(run)
    chosen = {"the root": root, "a child": child, "what is below it": leaf}[which]
    stage.clock.advance(100)
    look = store._read

    async def looks(query: Any) -> Any:
        found = await look(query)
        monkeypatch.setattr(store, "_read", look)
        assert await store.replay(chosen.key, TERMINAL)
        return found

    monkeypatch.setattr(store, "_read", looks)
    assert (await store.prune(stage.clock.now(), 100, START)).runs == 0
    assert await stage.state(chosen) is RunState.QUEUED
    assert len(await stage.records()) == 3


async def test_no_statement_of_a_run_s_life_is_planned_anew_each_time(watched: Watched) -> None:
    """SQLite does that where the plan may depend on what is bound (`limit :limit`, `attempt = :attempt`): an end
    took six times as long."""
    stage = watched.stage
    connection: Any = watched.store._connection
    present, planned = "", Counter[str]()

    def began(_: object, sql: str, __: object) -> bool:
        nonlocal present
        present = sql
        return True

    def looked_at(action: int, *_: object) -> int:  # by the planner
        if action not in (apsw.SQLITE_TRANSACTION, apsw.SQLITE_PRAGMA):
            planned[present] += 1
        return apsw.SQLITE_OK

    for lap in range(4):
        parent = await stage.running()
        spawns = [stage.spawn("b", parent) for _ in range(10)]
        for index, spawn in enumerate(spawns):
            spawn.kind, spawn.index = spawns[0].kind, index
        await stage.commit(spawns=spawns)
        one, *others = await stage.claim(6, tasks=["b"])
        await stage.complete(one)
        await stage.commit(outcomes=[*map(completed, others[1:]), failed(others[0])])
        await stage.complete(one)  # too late
        await stage.fail(parent, closes=True)
        if lap == 1:
            connection.exec_trace, connection.authorizer = began, looked_at  # which has all planned once more
        elif lap == 2:
            planned.clear()
    connection.exec_trace = connection.authorizer = None
    assert not planned


async def test_who_was_told_of_a_change_does_not_look_for_another_until_it_wants_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is open looks when its time has come; between two looks nothing is asked of the file."""
    changed = SqliteStore(tmp_path / "fanwood.db", SystemClock())
    await changed.open(lambda: None)
    told = asyncio.Event()
    store, looks = SqliteStore(tmp_path / "fanwood.db", SystemClock(), poll=0.001), list[None]()
    await store.open(told.set)
    real = store._watch._look
    monkeypatch.setattr(store._watch, "_look", lambda: (looks.append(None), real()))
    watching = asyncio.create_task(store.watch())
    try:
        async with asyncio.timeout(60):
            for _ in range(2):
                await changed.register(WorkerInfo("w", "h", 1, 1), [])
                await told.wait()
                await store.hush()
                told.clear()
                await asyncio.sleep(0.01)  # (it was under way, perhaps)
                looks.clear()
                await changed.register(WorkerInfo("w", "h", 1, 1), [])
                await asyncio.sleep(0.02)
                assert (looks, told.is_set()) == ([], False)
                await store.attend()
                await told.wait()  # also of what was changed meanwhile
                told.clear()
    finally:
        watching.cancel()
        await store.close()
        await changed.close()


async def test_of_what_is_left_over_a_few_large_ones_are_enough(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker begins once it has looked, and each look at a root reads its input, and some beside it."""
    stage = watched.stage
    small = await stage.running("b", program=8)
    for _ in range(9):
        await stage.born("a", small)
    for _ in range(40):
        await stage.born("a", program=8, input=f'"{"x" * 1000}"')
    assert await stage.store.left_over(["a"], [7], 100) == [LeftOver("a", 49, 49, 0)]
    assert await stage.store.left_over(["a"], [7], 49) == [LeftOver("a", 49, 49, 0, more=True)]
    monkeypatch.setattr(reading, "ANSWER_BYTES", 3000)
    assert await stage.store.left_over(["a", "c"], [7], 100) == [LeftOver("a", 12, 12, 0, more=True)]
    assert "12 or more queued runs of a" in _runs(12, LeftOver("a", 12, 12, 0, more=True))


async def test_a_message_is_not_looked_for_among_those_of_other_names(watched: Watched) -> None:
    """There may be a hundred thousand that its run has not asked for."""
    connection: Any = watched.store._connection
    plan = [row[3] for row in connection.execute(f"explain query plan {_OUTSIDE['sent']}", {"run": b"", "name": ""})]
    assert plan == ["SEARCH message USING PRIMARY KEY (run_id=? AND name=?)"]


@pytest.mark.parametrize("counted", [False, True], ids=["", "analyzed"])
async def test_whether_anything_is_paused_takes_one_look(watched: Watched, counted: bool) -> None:
    """And so does what was resumed first: there may be fifty thousand of either."""
    connection: Any = watched.store._connection
    rows = [(n.to_bytes(16, "big"), n if n % 2 else None) for n in range(500)]
    connection.executemany("insert into pause values (?1, ?1, 1, 'ann', ?2, null)", rows)
    if counted:
        connection.execute("analyze")
    asked = {"has_pauses": _PAUSES, "oldest_resumed": _PAUSES, "standing": _SPAWNING, "progress": _CHORES}
    for name, texts in asked.items():
        bindings = dict.fromkeys(re.findall(r":(\w+)", texts[name]))
        plan = [row[3] for row in connection.execute(f"explain query plan {texts[name]}", bindings)]
        about = [line for line in plan if "pause" in line]
        assert about, plan
        assert all(line.startswith("SEARCH pause USING") and "pause_resumed" in line for line in about), plan
    plan = [row[3] for row in connection.execute(f"explain query plan {_PAUSES['held']}", {"ids": "[]"})]
    assert any("pause_root (root_id=? AND resumed_at=?)" in line for line in plan), plan
