"""Large trees, made by hand in a store: by one statement a level, inside the database, in seconds.

    python -m benchmarks.trees million sqlite:///large.db

Everything follows from the numbers of the runs, so the same tree comes out each time, but for when it was.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any

import apsw
import asyncpg

from fanwood import Settings, SystemClock
from fanwood.ids import id_text
from fanwood.model.commands import TaskInfo, WorkerInfo
from fanwood.model.states import FIRST_WAIT, Awaited, EndedBy, RunKind, RunState, Waits
from fanwood.store.opening import store_for

SQLITE = "sqlite:///"
HOST = "made by hand"
SLOTS = 400
HOUR = 3_600_000_000

_S = RunState
_COLUMNS = (
    "id, parent_id, root_id, depth, kind, task, identity, child_index, input, priority, on_parent_end, state, waits, "
    "due_at, attempt, trial_start, retry_count, asked, worker_id, created_at, started_at, finished_at, busy, ended_by, "
    "output, error"
)


@dataclass(frozen=True)
class Level:
    """The runs of one depth: so many below each of the level above. In the order of their spawning: `ended` have ended
    (`failed` and `cancelled` of them badly, evenly spread), then `running`, `waiting`; the rest is queued."""

    each: int
    tasks: tuple[str, ...]  # a tenth each; the first one has what is left
    ended: int
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    waiting: int = 0
    kind: int = int(RunKind.TASK)
    waits: int = int(Waits.CHILDREN)


@dataclass(frozen=True)
class Shape:
    """A tree. `pace`: microseconds from one spawn of its largest level to the next."""

    root: str
    levels: tuple[Level, ...]
    state: RunState = RunState.RUNNING
    pace: int = 250

    @property
    def sizes(self) -> list[int]:
        """How many runs each level has, the root's left out."""
        sizes = [1]
        for level in self.levels:
            sizes.append(sizes[-1] * level.each)
        return sizes[1:]

    @property
    def runs(self) -> int:
        return 1 + sum(self.sizes)


@dataclass(frozen=True)
class Made:
    """A tree that is in a store."""

    root: bytes
    shape: Shape
    end: int  # when the last of it happened, in microseconds


def wide(runs: int = 1_000_001, *, failed: int | None = None, cancelled: int = 0, running: int = 400) -> Shape:
    """One root, and all others right below it: 94 % have completed, 1 % failed; the last ones are queued."""
    below = runs - 1
    ended = below * 95 // 100
    level = Level(below, ("parse", "index"), ended, below // 100 if failed is None else failed, cancelled, running)
    return Shape("ingest", (level,))


def deep(runs: int = 301_001) -> Shape:
    """Three levels: a thousand folders (of the usual size), with three hundred files each."""
    folders = (runs - 1) // 301
    files = folders * 300
    return Shape(
        "survey",
        (
            Level(folders, ("folder",), folders * 9 // 10, running=folders - folders * 9 // 10),
            Level(300, ("file", "image"), files * 95 // 100, failed=files // 100, running=min(SLOTS, files // 50)),
        ),
    )


def recorded(steps: int = 10_000) -> Shape:
    """One run that has recorded so many steps, and a few waits of it that are not over."""
    step = Level(steps, ("~step",), steps - min(10, steps), waiting=min(10, steps), kind=FIRST_WAIT)
    return Shape("assistant", (Level(1, ("agent",), 0, running=1), replace(step, waits=int(Waits.TIME))))


def suspended(parents: int = 100_000) -> Shape:
    """So many parents that wait, out of any worker's hands, each for a child."""
    return Shape(
        "campaign", (Level(parents, ("customer",), 0, waiting=parents), Level(1, ("answer",), 0, running=SLOTS))
    )


SHAPES = {"million": wide(), "deep": deep(), "recorded": recorded(), "suspended": suspended()}


async def make(settings: Settings, shape: Shape, *, namespace: str = "", number: int = 0) -> Made:
    """Write the tree into the store of these settings, which is made if there is none. `number`: of several in one
    store, made in the same microsecond. Nobody else may be connected to an SQLite file meanwhile."""
    named = replace(
        shape,
        root=_named(namespace, shape.root),
        levels=tuple(replace(x, tasks=tuple(_named(namespace, task) for task in x.tasks)) for x in shape.levels),
    )
    worker = await _worker(settings, named) if _has_running(shape) else None
    span = max(shape.sizes, default=0) * shape.pace
    end = time.time_ns() // 1000 - 5_000_000
    begin = end - span - span // 25
    if settings.database_url.startswith(SQLITE):
        root = _make_sqlite(settings, _Writer(named, begin, worker, number, _Sqlite()).statements())
    else:
        root = await _make_postgres(settings, _Writer(named, begin, worker, number, _Postgres()).statements())
    return Made(root, named, end)


def _named(namespace: str, task: str) -> str:
    return f"{namespace}/{task}" if namespace else task


def _has_running(shape: Shape) -> bool:
    return shape.state is RunState.RUNNING or any(level.running for level in shape.levels)


async def _worker(settings: Settings, shape: Shape) -> int:
    """A worker that lives as long as anybody looks."""
    tasks = tuple(
        sorted({shape.root, *(task for level in shape.levels if level.kind < FIRST_WAIT for task in level.tasks)})
    )
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    try:
        return await store.register(
            WorkerInfo("maker", HOST, 1, SLOTS, tasks, lease=24 * HOUR), [TaskInfo(task, "task") for task in tasks]
        )
    finally:
        await store.close()


# --- the statements --------------------------------------------------------------------------------------------------


class _Sqlite:
    def hex(self, number: str, digits: int) -> str:
        return f"printf('%0{digits}x', {number})"

    def blob(self, digits: str) -> str:
        return f"unhex({digits})"


class _Postgres:
    def hex(self, number: str, digits: int) -> str:
        return f"lpad(to_hex({number}), {digits}, '0')"

    def blob(self, digits: str) -> str:
        return f"decode({digits}, 'hex')"


@dataclass(frozen=True)
class _Writer:
    """The statements of one tree: its root's comes first, and then one for each level."""

    shape: Shape
    begin: int
    worker: int | None
    number: int
    form: _Sqlite | _Postgres

    def statements(self) -> list[str]:
        levels = [self._level(depth) for depth in range(1, len(self.shape.levels) + 1)]
        return [self._root_row(), *levels, *self._suspended()]

    def _suspended(self) -> list[str]:
        """What is known of those that wait for children: that they miss the end of one."""
        if not any(level.waiting and level.waits == Waits.CHILDREN for level in self.shape.levels):
            return []
        of_tree = f"r.root_id = {self._id(0, 'cast(0 as bigint)')} and r.state = 2 and r.waits = {int(Waits.CHILDREN)}"
        child = "c.root_id = r.root_id and c.parent_id = r.id and c.state < 8"
        return [
            f"""
insert into suspended (run_id, attempt, wakes, missing, until)
select r.id, r.attempt, 1, 1, null from run r where {of_tree}
""",
            f"""
insert into awaited (run_id, waiter_id, weight)
select c.id, r.id, {int(Awaited.WAKES)} from run r join run c on {child} where {of_tree}
""",
        ]

    @property
    def _held(self) -> str:
        return f"cast({self.worker or 'null'} as bigint)"

    def _pace(self, depth: int) -> int:
        sizes = [1, *self.shape.sizes]
        return self.shape.pace * max(sizes) // sizes[depth]

    def _born(self, depth: int, number: str) -> str:
        return f"{self.begin + depth * 1000} + {number} * {self._pace(depth)}"

    def _id(self, depth: int, number: str) -> str:
        """A uuid7 of that time. What comes after the time keeps the order; its end tells it from its neighbours."""
        parts = (
            self.form.hex(f"({self._born(depth, number)}) / 1000", 12),
            f"'7{depth:03x}8'",
            self.form.hex(number, 7),
            self.form.hex(f"({self.number + self.begin % 1_000_003} + {_hash(number)}) % 4294967296", 8),
        )
        return self.form.blob(" || ".join(parts))

    def _root_row(self) -> str:
        state, begin = self.shape.state, self.begin
        ended = state.is_terminal
        finished = begin + max(self.shape.sizes, default=0) * self.shape.pace if ended else "null"
        output = _quoted("{}") if state is _S.COMPLETED else "null"
        error = _error("0", "0") if state is _S.FAILED else "null"
        root = self._id(0, "cast(0 as bigint)")
        return f"""
insert into run ({_COLUMNS})
values ({root}, null, {root}, 0, 0, '{self.shape.root}', null, null, '{{"parts":40}}', 1, 0, {int(state)},
    {int(Waits.CHILDREN) if state is _S.WAITING else "null"}, null, {0 if state is _S.QUEUED else 1}, 0, 0, 0,
    {self._held}, {begin}, {begin + 1000}, {finished}, 0,
    {1 if ended else "null"}, {output}, {error})
"""

    def _level(self, depth: int) -> str:
        level, size = self.shape.levels[depth - 1], self.shape.sizes[depth - 1]
        id_, parent = self._id(depth, "k"), self._id(depth - 1, f"(k / {level.each})")
        tasks = "".join(f"when (k * 7) % 10 = {n} then '{task}' " for n, task in enumerate(level.tasks[1:], 1))
        task = f"case {tasks}else '{level.tasks[0]}' end" if tasks else f"'{level.tasks[0]}'"
        running = level.ended + level.running
        due = f"case when state = 2 then born + {HOUR} end" if level.waits == Waits.TIME else "cast(null as bigint)"
        sleeps = level.kind >= FIRST_WAIT and level.waits == Waits.TIME
        kind = f"case when state = 2 then {int(RunKind.SLEEP)} else {level.kind} end" if sleeps else str(level.kind)
        return f"""
insert into run ({_COLUMNS})
with recursive n(k) as (select cast(0 as bigint) union all select k + 1 from n where k + 1 < {size}),
hashed as (select k, {_hash("k")} / 429497 as u, (k * 7368787) % {max(level.ended, 1)} as spread from n),
stated as (
    select k, u, spread, {self._born(depth, "k")} as born,
        case when k >= {running + level.waiting} then 0 when k >= {running} then 2 when k >= {level.ended} then 1
            when spread < {level.failed} then 9 when spread < {level.failed + level.cancelled} then 10 else 8
        end as state
    from hashed
),
told as (
    select k, u, spread, state, born, born + k * {self._pace(depth)} / 25 as started,
        case when state = 9 then 2 when state > 0 and u % 50 = 0 then 1 else 0 end as retries,
        5000 + u * 4 + case when u >= 9995 then (u - 9990) * 250000 when u >= 9000 then (u - 9000) * 100 else 0 end
            as took
    from stated
)
select {id_}, {parent}, {self._id(0, "cast(0 as bigint)")}, {depth}, {kind}, {task}, {id_}, k % {level.each},
    '{{"part":' || (k / 1000) || ',"row":' || (k % 1000) || '}}', 1, 0, state,
    case when state = 2 then {level.waits} end, {due},
    case when state = 0 then 0 else 1 + retries end, retries, retries, 1,
    case when state = 1 or state >= 8 then {self._held} end, born, case when state > 0 then started end,
    case when state >= 8 then started + took end, case when state >= 8 then took else 0 end,
    case when state in (8, 9) then {int(EndedBy.OUTCOME)} when state = 10 then {int(EndedBy.CALL)} end,
    case when state = 8 then '{{"rows":' || (u % 20) || '}}' end,
    case when state = 9 then {_error("k", "spread")}
        when state = 10 then '{{"kind":"cancelled","message":"by request"}}' end
from told
"""


def _hash(number: str) -> str:
    return f"(({number} * 2654435761) % 4294967296)"


def _error(number: str, kind: str) -> str:
    value = f"'bad row ' || ({number} % 1000) || ' in part ' || ({number} / 1000)"
    key = f"'''customer-' || {number} || ''''"
    address = f"'10.0.' || ({number} % 200) || '.' || ({number} % 250)"
    late = f"'no answer from ' || {address} || ' after ' || (5 + {number} % 25) || ' s'"
    errors = [
        f"""'{{"kind":"failed","type":"{name}","message":"' || {message} || '","traceback":"{_TRACE}{name}"}}'"""
        for name, message in (("ValueError", value), ("KeyError", key), ("TimeoutError", late))
    ]
    return f"case {kind} % {len(errors)} when 0 then {errors[0]} when 1 then {errors[1]} else {errors[2]} end"


_TRACE = r"Traceback (most recent call last):\n  File \"ingest.py\", line 24, in parse\n    load(part)\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# --- the databases ---------------------------------------------------------------------------------------------------


def _make_sqlite(settings: Settings, statements: list[str]) -> bytes:
    connection = apsw.Connection(settings.database_url.removeprefix(SQLITE))
    try:
        for pragma, value in (("synchronous", "off"), ("cache_size", -512 * 1024)):
            connection.pragma(pragma, value)
        connection.execute("begin immediate")
        for statement in statements:
            connection.execute(statement)
        connection.execute("commit")
        connection.execute("analyze; pragma wal_checkpoint(truncate)")
        newest = "select id from run where parent_id is null order by created_at desc, id desc limit 1"
        return bytes(connection.execute(newest).get)
    finally:
        connection.close()


async def _make_postgres(settings: Settings, statements: list[str]) -> bytes:
    connection: Any = await asyncpg.connect(settings.database_url)
    try:
        await connection.execute(f'set search_path to "{settings.postgres_schema}"')
        async with connection.transaction():  # (one that waits for the disk: a vacuum passes over what may be lost)
            root = await connection.fetchval(f"{statements[0]} returning id")
            for statement in statements[1:]:
                await connection.execute(statement)
        await connection.execute("vacuum analyze run")  # as autovacuum would, but not in the midst of it
        return root
    finally:
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trees", description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("url", help="of the store: sqlite:///file.db, postgresql://...")
    options = parser.parse_args()
    start = time.perf_counter()
    made = asyncio.run(make(Settings.load(database_url=options.url), SHAPES[options.shape]))
    print(f"{made.shape.runs:,} runs in {time.perf_counter() - start:.1f} s: {id_text(made.root)}")


if __name__ == "__main__":
    main()
