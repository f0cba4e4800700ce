"""What must be true of a database after a process was killed: at once, and when another one has ended everything."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import apsw
import asyncpg

from fanwood.ids import id_bytes
from fanwood.model.states import RunState
from tests.crashes.scenarios import Ground, Scenario

COMPLETED = int(RunState.COMPLETED)
OF_WORKERS = ("lease", "worker_task", "mail", "unheard", "watch")
TWINS = "select parent_id, identity from run where parent_id is not null group by 1, 2 having count(*) > 1"
ALONE = (
    "select id from run r where not exists (select 1 from run p where p.id = r.root_id)"
    " or (r.parent_id is not null and not exists (select 1 from run p where p.id = r.parent_id))"
)
KEYS_OF_NOTHING = "select key from idem where run_id not in (select id from run)"
NOBODYS = "select id from run where state = 1 and worker_id not in (select id from worker)"
BELOW_NOTHING = "select count(*) from {} where run_id not in (select id from run) having count(*) > 0"


def journal(ground: Ground) -> list[list[Any]]:
    path = ground.folder / "journal"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Reader:
    """Reads a database by one connection, past the store."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: Any = None
        self._runner: Any = None

    def __enter__(self) -> Self:
        if self.url.startswith("sqlite"):
            self._connection = apsw.Connection(self.url.removeprefix("sqlite:///"))
            self._connection.set_busy_timeout(60_000)
        else:
            self._runner = asyncio.Runner()
            about = {"server_settings": {"search_path": "fanwood"}, "statement_cache_size": 0}
            self._connection = self._runner.run(asyncpg.connect(self.url, **about))
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is None:
            self._connection.close()
        else:
            self._runner.run(self._connection.close())
            self._runner.close()

    def __call__(self, statement: str) -> list[tuple[Any, ...]]:
        if self._runner is None:
            return self._connection.execute(statement).fetchall()
        return [tuple(row) for row in self._runner.run(self._connection.fetch(statement))]

    @property
    def has_schema(self) -> bool:
        try:
            return bool(self("select count(*) from run"))
        except (apsw.SQLError, asyncpg.UndefinedTableError):
            return False


def completed(sql: Reader) -> dict[bytes, str]:
    """Runs that must not be executed again, and their tasks."""
    found = sql(f"select id, task from run where state = {COMPLETED}") if sql.has_schema else []
    return {bytes(id_): task for id_, task in found}


def at_any_time(sql: Reader) -> Iterable[str]:
    if not sql.has_schema:
        return
    for what, query in (
        ("two children with one identity", TWINS), ("no parent or root", ALONE), ("a key of no run", KEYS_OF_NOTHING),
        ("RUNNING under nobody", NOBODYS), ("logs of no run", BELOW_NOTHING.format("log")),
        ("attempts of no run", BELOW_NOTHING.format("attempt")),
    ):  # fmt: skip
        if rows := sql(query):
            yield f"{what}: {rows[:3]}"
    if sql.url.startswith("sqlite") and (said := sql("pragma integrity_check")) != [("ok",)]:
        yield f"the file is damaged: {said[:3]}"


def when_all_is_over(sql: Reader) -> Iterable[str]:
    for query in (
        "select task, state, count(*) from run where state < 8 group by 1, 2",
        "select run_id from gate",
        "select root_id from moved_deadline",
        "select id, name, pid from worker",
        *(f"select '{name}', count(*) from {name} having count(*) > 0" for name in OF_WORKERS),
    ):
        if rows := sql(query):
            yield f"left over: {rows[:3]} ({query})"
    for id_, task, attempt, output in sql(f"select id, task, attempt, output from run where state = {COMPLETED}"):
        if task in {"leaf", "sync_leaf"} and json.loads(output)[1] != attempt:
            yield f"{task} {bytes(id_).hex()} is recorded under attempt {attempt}, and made by {output}"


def history(ground: Ground, scene: Scenario, sql: Reader, done: dict[bytes, str], lines: int) -> Iterable[str]:
    """What was told is there, and nothing was executed that should not have been. `done` was completed after the first
    so many lines of the journal."""
    rows = {bytes(id_): (state, attempt) for id_, state, attempt in sql("select id, state, attempt from run")}
    told, begun, recorded = journal(ground), Counter[tuple[str, int]](), set[tuple[str, str]]()
    for number, (event, run, *about) in enumerate(told):
        if event == "killed":
            continue
        id_ = id_bytes(run)
        state, last = rows.get(id_, (None, 1 << 30))
        if event == "begin":
            begun[run, about[0]] += 1
            if state is None and scene.name != "prune":
                yield f"{run} was executed, and is not there"
            elif about[0] > last:
                yield f"attempt {about[0]} of {run} began, and its row is at {last}"
            if number >= lines and done.get(id_, "leaf") not in scene.again and id_ in done:
                yield f"{done[id_]} {run} had been completed, and began again"
        elif event == "did" and (run, about[0]) in recorded:
            yield f"{about[0]} of {run} was recorded, and done again"
        elif event == "recorded":
            recorded.add((run, about[0]))
        elif state is None and scene.name != "prune":
            yield f"run {run} was acknowledged, and is gone"
        elif event == "cancelled" and state != RunState.CANCELLED:
            yield f"run {run} was cancelled, and is {state}"
    yield from (f"attempt {attempt} of {run} began {n} times" for (run, attempt), n in begun.items() if n > 1)


def doctor(ground: Ground, url: str) -> None:
    """Raises unless all is well."""
    ground.say("doctor", "--full", "--url", url)
