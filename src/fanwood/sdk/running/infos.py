"""Runs and their attempts, as callers are shown them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.clock import MICROSECONDS, moment
from fanwood.ids import id_text
from fanwood.model.commands import Finished
from fanwood.model.lives import life_of
from fanwood.model.states import RunState, waits_named
from fanwood.sdk.declaring.outcomes import error_of, plain_json
from fanwood.sdk.running.lineage import ForkInfo, KinInfo, fork_info, kin_info, lineage_info
from fanwood.store.budgets import quantity, shown
from fanwood.store.failures import attempt_error, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from fanwood.model.budgets import Balance
    from fanwood.model.forks import Lineage
    from fanwood.model.looks import Kin
    from fanwood.model.records import AttemptRecord, LogRecord, RunRecord, TaskCount
    from fanwood.store.progress import Progress

SHOWN = 2000
"""Characters of a value in a notebook."""


def table(rows: Iterable[tuple[str, Any]]) -> str:
    """Names and values in HTML; without what there isn't."""
    shown = [(name, value.name if isinstance(value, Enum) else value) for name, value in rows]
    cells = [
        f"<tr><th style='text-align: left'>{escape(name)}</th>"
        f"<td style='text-align: left'>{escape(str(value)[:SHOWN])}</td></tr>"
        for name, value in shown
        if value is not None and value != {}
    ]
    return f"<table>{''.join(cells)}</table>"


def type_name(hint: Any) -> str | None:
    """An annotation in a word, unless it says nothing."""
    return None if hint is Any else hint.__qualname__ if isinstance(hint, type) else str(hint)


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """A limit that holds for a run: `unit` ("runs", "depth", "seconds", or a unit of a budget's own), how much it
    allows, and how much of that is used, or held: reserved, or in parts of children. `run_id`: whose budget it is."""

    run_id: str
    unit: str
    amount: Decimal | int
    used: Decimal | int
    held: Decimal | int


@dataclass(frozen=True, slots=True, repr=False)
class RunInfo:
    """A run, as it stands. In listings `input` and `output` are left out (None).

    `busy_seconds`: how long it held a slot, over all attempts that have ended. `waits`: for what it waits, if it is
    WAITING: `"children"`, `"time"`, `"event"`, `"promise"`, `"message"`, or, as it is paused, `"resume"`. `due_at`:
    until when. `started_over`: how often it has (`ctx.start_over`). `budget`: what it may use, by its own
    budget and those above it; `spent`: what it has told by `ctx.spend` itself, without its children. Both are left out
    in listings. `fork`: what it is in a fork, if it is in one. `kin`: what it has to do with another run of its tree, a
    shared one or a hedge; left out in listings.
    """

    id: str
    task_name: str
    status: RunState
    parent_id: str | None
    root_id: str
    depth: int
    child_key: str | None
    priority: int
    additional_metadata: dict[str, Any]
    attempt: int
    retry_count: int
    input: Any
    output: Any
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    waits: str | None
    due_at: datetime | None
    busy_seconds: float
    started_over: int = 0
    budget: list[LimitInfo] = field(default_factory=list[LimitInfo])
    spent: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    fork: ForkInfo | None = None
    kin: KinInfo | None = None

    def __repr__(self) -> str:
        why = "" if self.error is None else f", error={self.error!r:.200}"
        return f"RunInfo({self.id!r}, task={self.task_name!r}, status={self.status.name}{why})"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return table([(name, getattr(self, name)) for name in self.__dataclass_fields__])


@dataclass(frozen=True, slots=True)
class AttemptInfo:
    """One attempt of a run: the `number`-th time that a worker took it. `error`: why it failed, in few words;
    `traceback` is that of the exception, if it was one. `finished_at` is None while it runs."""

    number: int
    status: RunState
    worker: str | None
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    traceback: str


@dataclass(frozen=True, slots=True)
class LogInfo:
    """A line that a task logged with `ctx.log`. `seq` counts within the run."""

    seq: int
    attempt: int
    at: datetime
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class RunCounts:
    """How far a run is: its `status`, its own `progress` if it says so, and how many of the runs below it are in each
    state; `by_task` has them by task. `ended` are those that have, however, of `total`."""

    run_id: str
    status: RunState
    progress: Progress | None
    total: int
    ended: int
    queued: int
    running: int
    waiting: int
    completed: int
    failed: int
    cancelled: int
    by_task: dict[str, dict[RunState, int]]

    def _repr_html_(self) -> str:
        """For notebooks."""
        rows = [
            (task, ", ".join(f"{n:,} {s.name.lower()}" for s, n in of.items())) for task, of in self.by_task.items()
        ]
        return table([("status", self.status), ("ended", f"{self.ended:,} of {self.total:,}"), *rows])


def counts_of(record: RunRecord, counted: list[TaskCount], progress: Progress | None) -> RunCounts:
    """Of a tree's counts, which hold the run itself as well."""
    by_task: dict[str, dict[RunState, int]] = {}
    for each in counted:
        by_task.setdefault(each.task, {})[each.state] = each.count
    mine = by_task.get(record.task, {})
    state = record.state if record.state in mine else next(iter(mine), None)  # it may have gone on between two looks
    if state is not None:
        mine[state] -= 1
        by_task[record.task] = {state: count for state, count in mine.items() if count}
    by_task = {task: states for task, states in by_task.items() if states}
    of = {state: sum(states.get(state, 0) for states in by_task.values()) for state in RunState}
    return RunCounts(
        run_id=id_text(record.id),
        status=record.state,
        progress=progress,
        total=sum(of.values()),
        ended=sum(count for state, count in of.items() if state.is_terminal),
        queued=of[RunState.QUEUED],
        running=of[RunState.RUNNING],
        waiting=of[RunState.WAITING],
        completed=of[RunState.COMPLETED],
        failed=of[RunState.FAILED],
        cancelled=of[RunState.CANCELLED],
        by_task=by_task,
    )


def log_info(record: LogRecord) -> LogInfo:
    """A record for callers."""
    return LogInfo(record.seq, record.attempt, moment(record.at), record.level, record.message)


def limit_infos(balances: Iterable[Balance]) -> list[LimitInfo]:
    """Limits for callers."""
    return [
        LimitInfo(
            id_text(one.run_id), shown(one.unit), *(quantity(one.unit, n) for n in (one.amount, one.used, one.held))
        )
        for one in balances
    ]


def run_info(
    record: RunRecord,
    balances: Iterable[Balance] = (),
    spent: Iterable[tuple[bytes, str, int]] = (),
    lineage: Lineage | None = None,
    kin: Sequence[Kin] = (),
) -> RunInfo:
    """A record for callers."""
    end = Finished(record.state, record.output, record.error, record.task)
    error = None if record.error is None else str(error_of(end, record.id, record.task))
    return RunInfo(
        id=id_text(record.id),
        task_name=record.task,
        status=record.state,
        parent_id=id_text(record.parent_id) if record.parent_id else None,
        root_id=id_text(record.root_id),
        depth=record.depth,
        child_key=record.child_key,
        priority=record.priority,
        additional_metadata=_mapping(record.metadata),
        attempt=record.attempt,
        retry_count=record.retry_count,
        input=plain_json(record.input) if record.input is not None else None,
        output=plain_json(record.output) if record.output is not None else None,
        error=error,
        created_at=moment(record.created_at),
        started_at=None if record.started_at is None else moment(record.started_at),
        finished_at=None if record.finished_at is None else moment(record.finished_at),
        waits=waits_named(record.waits),
        due_at=None if record.until is None else moment(record.until),
        busy_seconds=record.busy / MICROSECONDS,
        started_over=0 if (life := life_of(record.life)) is None else life.number,
        budget=limit_infos(balances),
        spent={unit: Decimal(quantity(unit, amount)) for _, unit, amount in spent},
        fork=fork_info(record.id, record.life) if lineage is None else lineage_info(lineage),
        kin=kin_info(kin[0]) if kin else None,
    )


def attempt_info(record: AttemptRecord) -> AttemptInfo:
    """A record for callers."""
    failure = attempt_error(record)
    return AttemptInfo(
        number=record.number,
        status=record.state,
        worker=record.worker or (None if record.worker_id is None else str(record.worker_id)),
        started_at=None if record.started_at is None else moment(record.started_at),
        finished_at=None if record.finished_at is None else moment(record.finished_at),
        error=None if failure is None else summary(failure),
        traceback="" if failure is None else failure.traceback,
    )


def _mapping(text: str | None) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
    except msgspec.DecodeError:  # somebody wrote it by hand
        return {}
