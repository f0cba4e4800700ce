"""What must be true of the database when all is over, whatever was done to those who wrote it.

It reads the tables and the journal of the processes, and shares no code with what it checks; what `fanwood doctor` and
the simulated worlds hold against the rows is held against them as well, for what always holds is said once.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fanwood import RunState, Settings
from fanwood.clock import SystemClock
from fanwood.model.invariants import History
from fanwood.store import auditing as audit
from fanwood.store.opening import store_for
from tests.chaos.backends import Backend

SHOWN = 10
"""How many findings of one kind are listed."""


class Row(NamedTuple):
    id: bytes
    parent_id: bytes | None
    root_id: bytes
    task: str
    identity: bytes | None
    state: int
    attempt: int
    retry_count: int
    input: str
    output: str | None


@dataclass(frozen=True)
class Begin:
    """An attempt began, says the process that executed it: when it was let."""

    run: str
    attempt: int
    by: str
    at: float


def begins(journal: Path) -> list[Begin]:
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    return [Begin(run.replace("-", ""), attempt, by, at) for event, run, attempt, by, at in lines if event == "begin"]


def check(backend: Backend, journal: Path, alive: Iterable[int] = ()) -> list[Row]:
    """Everything; the rows. `alive`: the processes that may still be entered as workers."""
    findings = [*_left_over(backend, set(alive))]
    query = f"select {', '.join(Row._fields)} from run"
    rows = [Row(*row) for row in backend.rows(query)]
    for rule in (_ended_well, _outputs, _answers, _unique, _no_orphans):
        findings += _some(rule.__name__, list(rule(rows)))
    findings += _some("begun once", _begun_once(journal, rows))
    findings += _some("what always holds", asyncio.run(_audited(backend.url)))
    assert not findings, f"the checker has found in {backend.url}:\n" + "\n".join(findings)
    return rows


async def _audited(url: str) -> list[str]:
    """As `fanwood doctor --full`."""
    store = store_for(Settings.load(database_url=url), SystemClock(), create=False)
    await store.open(lambda: None)
    try:
        return [found async for found in audit.findings(store, full=True)]
    finally:
        await store.close()


def _some(rule: str, found: list[str]) -> list[str]:
    more = [f"{rule.strip('_')}: and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return [f"{rule.strip('_')}: {finding}" for finding in found[:SHOWN]] + more


# --- rows of runs ----------------------------------------------------------------------------------------------------


def _ended_well(rows: list[Row]) -> Iterable[str]:
    """All are terminal, and no task or client has seen an error."""
    for (task, state, retries), count in sorted(Counter((r.task, r.state, r.retry_count) for r in rows).items()):
        if state != RunState.COMPLETED or retries:
            yield f"{count} run(s) of {task} are in state {state}, with {retries} failure(s) charged"


def _outputs(rows: list[Row]) -> Iterable[str]:
    """Each is right, and made by the attempt under which it is recorded."""
    for row in rows:
        output = json.loads(row.output or "{}")
        if output.get("attempt") != row.attempt:
            yield f"{_who(row)} is recorded under attempt {row.attempt}, and was made by {output}"
        if row.task in {"child", "patient"} and output.get("value") != json.loads(row.input)["n"] ** 2:
            yield f"{_who(row)} of {row.input} is {output}"


def _answers(rows: list[Row]) -> Iterable[str]:
    """A parent has all its children, and has got each one's result once."""
    children: defaultdict[bytes | None, list[Any]] = defaultdict(list)
    for row in rows:
        children[row.parent_id].append(json.loads(row.input).get("n"))
    for row in rows:
        if row.task not in {"parent", "chain"}:
            continue
        n = json.loads(row.input)["n"]
        if sorted(children[row.id]) != list(range(n)):
            yield f"{_who(row)} should have {n} children, and has {len(children[row.id])}"
        value = json.loads(row.output or "{}").get("value")
        if row.task == "parent" and value != sum(i * i for i in range(n)):
            yield f"{_who(row)} of {n} children answered {value}"


def _unique(rows: list[Row]) -> Iterable[str]:
    """Below a parent, and by its key; and no root that a client started once is there twice."""
    for (parent, identity), count in Counter((r.parent_id, r.identity) for r in rows if r.identity).items():
        if count > 1:
            yield f"{count} runs are {identity.hex()} below {parent.hex() if parent else 'nobody'}"
    for (task, text), count in Counter((r.task, r.input) for r in rows if r.parent_id is None).items():
        if count > 1:
            yield f"{count} roots of {task} were made of one: {text}"


def _no_orphans(rows: list[Row]) -> Iterable[str]:
    known = {row.id for row in rows}
    for row in rows:
        if row.root_id not in known or (row.parent_id is not None and row.parent_id not in known):
            yield f"{_who(row)} has no parent or root"


def _who(row: Row) -> str:
    return f"{row.task} {row.id.hex()}"


def _begun_once(journal: Path, rows: list[Row]) -> list[str]:
    """Attempts begin in order, none twice; no run was executed that there isn't, or after it had ended."""
    attempts = {row.id.hex(): row.attempt for row in rows}
    history, found = History(), list[str]()
    for begin in sorted(begins(journal), key=lambda begin: begin.at):  # (a line may be written late: `app._let`)
        found += history.began(bytes.fromhex(begin.run), begin.attempt, begin.by)
        if begin.attempt > attempts.get(begin.run, 0):
            found.append(
                f"attempt {begin.attempt} of {begin.run} was executed; its row is at {attempts.get(begin.run)}"
            )
    return found


# --- everything else -------------------------------------------------------------------------------------------------


def _left_over(backend: Backend, alive: set[int]) -> Iterable[str]:
    for task, worker, count in backend.rows("select task, worker_id, count(*) from run where state = 1 group by 1, 2"):
        yield f"{count} run(s) of {task} hold a slot of worker {worker}"
    for (count,) in backend.rows("select count(*) from watch having count(*) > 0"):
        yield f"{count} watch(es)"
    for (count,) in backend.rows("select count(*) from gate having count(*) > 0"):
        yield f"{count} gate(s): what is below them was never swept"
    for (count,) in backend.rows("select count(*) from moved_deadline having count(*) > 0"):
        yield f"{count} tree(s) in which a deadline moved, and not all were told"
    for table in ("mail", "worker_task", "unheard", "lease"):
        query = f"select count(*) from {table} where worker_id not in (select id from worker) having count(*) > 0"
        for (count,) in backend.rows(query):
            yield f"{count} row(s) of {table} for workers that are gone"
    for id_, name, pid in backend.rows("select id, name, pid from worker"):
        if pid not in alive:
            yield f"worker {id_} ({name}) is still entered"
    if backend.name == "sqlite" and (said := backend.rows("pragma integrity_check")) != [("ok",)]:
        yield f"the file is damaged: {said[:3]}"
