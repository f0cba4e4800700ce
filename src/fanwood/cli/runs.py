"""`fanwood runs`: list, show, cancel and retry."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common, Group, Sentence, common
from fanwood.cli.output import Column
from fanwood.clock import MICROSECONDS
from fanwood.durations import microseconds
from fanwood.errors import FanwoodError
from fanwood.ids import id_text
from fanwood.model.records import LogRecord, RunFilter, RunRecord, TaskCount
from fanwood.model.states import TERMINAL, RunState
from fanwood.store.failures import decode_failure

if TYPE_CHECKING:
    from fanwood.store.store import Store

LOG_LINES = 1000
_STATES = [state.name.lower() for state in RunState]


@click.group(cls=Group, name="runs", epilog="Example:\n  fanwood runs ls --status failed --since 1h")
def command() -> None:
    """List, show, cancel and retry runs. RUN is a run's id, or as much of its beginning as is unique."""


# --- ls --------------------------------------------------------------------------------------------------------------


@command.command(
    name="ls",
    epilog="Example:\n  fanwood runs ls --status failed --since 1h\n\n"
    "JSON: {runs: [{id, task, status, parent_id, root_id, depth, child_key, priority, metadata, attempt,\n"
    "  retry_count, created_at, started_at, finished_at, seconds, error: {kind, type, message, traceback, limit,\n"
    "  owner} | null}]}",
)
@click.option("--status", type=click.Choice(_STATES, case_sensitive=False), help="Only those in this state.")
@click.option("--task", help="Only runs of this task.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--since", metavar="WHEN", help="Only newer ones: 90s, 1h, 2d, or an ISO time.")
@common
def ls(status: str | None, task: str | None, limit: int, since: str | None, common: Common) -> None:
    """List runs that were not spawned by another run (roots), newest first."""
    namespace = common.settings().namespace
    prefix = f"{namespace}/" if namespace else None

    async def ask(store: Store) -> tuple[list[RunRecord], int]:
        filter_ = RunFilter(
            task=f"{prefix}{task}" if prefix and task and "/" not in task else task,
            prefix=prefix,
            state=RunState[status.upper()] if status else None,
            since=_moment(since, store.now()) if since else 0,
            limit=limit,
        )
        return await store.roots(filter_), store.now()

    runs, now = looking.look(common, ask)
    if common.as_json:
        output.print_json({"runs": [looking.run_json(run, now) for run in runs]})
        return
    if not runs:
        output.note("No runs." if not (status or task or since) else "No such runs.")
        return
    columns = [
        Column("id", fixed=True),
        Column("task"),
        Column("state", fixed=True),
        Column("created", fixed=True),
        Column("took", right=True, fixed=True),
    ]
    output.print_table(columns, [_row(run, now) for run in runs])


def _row(run: RunRecord, now: int) -> list[output.Cell]:
    return [
        id_text(run.id),
        text.clean(run.task, 60),
        output.state_cell(run.state),
        text.local_time(run.created_at),
        text.took(looking.ended_at(run, now)),
    ]


def _moment(since: str, now: int) -> int:
    try:
        return now - (microseconds(since, "--since") or 0)
    except FanwoodError:
        pass
    try:
        return round(datetime.fromisoformat(since).astimezone().timestamp() * MICROSECONDS)
    except ValueError:
        raise Sentence(f"--since {since!r} is neither a duration (90s, 1h, 2d) nor an ISO time") from None


# --- get -------------------------------------------------------------------------------------------------------------


@command.command(
    name="get",
    epilog="Example:\n  fanwood runs get 0192f3a1-7c\n\n"
    "JSON: what `runs ls --json` has, and input, output, deaths, worker_id, run_at, deadline,\n"
    "  children: {task: {state: count}}, logs: [{at, level, attempt, message}]",
)
@click.argument("run")
@common
def get(run: str, common: Common) -> None:
    """Show all of a run: input, output, error, children, and what it logged."""

    async def ask(store: Store) -> tuple[RunRecord, list[TaskCount], list[LogRecord], int]:
        id_ = await store.find(run)
        return await store.get(id_), await store.child_counts(id_), await store.logs(id_, limit=LOG_LINES), store.now()

    record, children, logs, now = looking.look(common, ask)
    if common.as_json:
        output.print_json(_whole_json(record, children, logs, now))
        return
    _print_facts(record, now)
    _print_block("input", _pretty(record.input))
    if record.output is not None:
        _print_block("output", _pretty(record.output))
    _print_error(record)
    if children:
        lines = [f"{text.clean(task)}: {_counts(states)}" for task, states in looking.counts_json(children).items()]
        _print_block("children", "\n".join(lines))
    if logs:
        _print_block("logs", "\n".join(_log_line(line) for line in logs))


def _whole_json(record: RunRecord, children: list[TaskCount], logs: list[LogRecord], now: int) -> dict[str, Any]:
    return {
        **looking.whole_run_json(record, now),
        "deaths": record.deaths,
        "worker_id": record.worker_id,
        "run_at": text.instant(record.run_at),
        "deadline": text.instant(record.deadline),
        "children": looking.counts_json(children),
        "logs": [
            {"at": text.instant(line.at), "level": line.level, "attempt": line.attempt, "message": line.message}
            for line in logs
        ],
    }


def _print_facts(record: RunRecord, now: int) -> None:
    facts: list[tuple[str, output.Cell]] = [
        ("id", id_text(record.id)),
        ("task", text.clean(record.task)),
        ("state", output.state_cell(record.state)),
        ("parent", id_text(record.parent_id) if record.parent_id else ""),
        ("root", id_text(record.root_id) if record.parent_id else ""),
        ("child key" if record.parent_id else "key", text.clean(record.child_key or "")),
        ("attempt", f"{record.attempt}"),
        ("retries", f"{record.retry_count}" if record.retry_count else ""),
        ("deaths", f"{record.deaths} worker(s) died while executing it" if record.deaths else ""),
        ("priority", f"{record.priority}"),
        ("metadata", text.clean(record.metadata or "", 2000)),
        ("created", text.local_time(record.created_at)),
        ("started", text.local_time(record.started_at)),
        ("finished", text.local_time(record.finished_at)),
        ("took", text.took(looking.ended_at(record, now))),
        ("queued until", text.local_time(record.run_at)),
        ("deadline", text.local_time(record.deadline)),
    ]
    for name, value in facts:
        if output.plain(value):
            output.print_line((f"{name:<13}", "dim"), value)


def _print_error(record: RunRecord) -> None:
    if record.error is None:
        return
    failure = decode_failure(record.error)
    heading = "error" if record.state.is_terminal else "error of the last attempt"
    said = ": ".join(part for part in (failure.type, failure.message) if part) or failure.kind
    _print_block(heading, said)
    if failure.traceback:
        _print_block("traceback", failure.traceback.rstrip())


def _print_block(heading: str, block: str) -> None:
    output.print_line((f"{heading}:", "bold"))
    for line in text.clean_block(block).split("\n"):
        output.print_line(f"  {line}")


def _pretty(data: str | None) -> str:
    return msgspec.json.format((data or "null").encode(), indent=2).decode()


def _counts(states: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {state.lower()}" for state, count in states.items())


def _log_line(line: LogRecord) -> str:
    return f"{text.local_time(line.at)}  {line.level:<8} {line.message}"


# --- cancel, retry ---------------------------------------------------------------------------------------------------


@command.command(name="cancel", epilog="Example:\n  fanwood runs cancel 0192f3a1-7c\n\nJSON: {id, status, cancelled}")
@click.argument("run")
@common
def cancel(run: str, common: Common) -> None:
    """Cancel a run and everything below it. Once this returns, nothing of it starts any more."""

    async def ask(store: Store) -> tuple[RunRecord, int]:
        id_ = await store.find(run)
        count = await store.cancel(id_, "by request")
        return await store.get(id_), count

    record, count = looking.look(common, ask)
    if common.as_json:
        output.print_json({"id": id_text(record.id), "status": record.state.name, "cancelled": count})
    elif count:
        output.print_line(f"Cancelled {text.many(count, 'run')}: {text.clean(record.task)} {id_text(record.id)}")
    else:
        output.print_line(f"{text.clean(record.task)} {id_text(record.id)} is {record.state.name}: nothing to cancel")


@command.command(name="retry", epilog="Example:\n  fanwood runs retry 0192f3a1-7c\n\nJSON: {id, task, status, served}")
@click.argument("run")
@click.option("--force", is_flag=True, help="Also what completed: it runs again, and its result is replaced.")
@common
def retry(run: str, force: bool, common: Common) -> None:
    """Run again what failed or was cancelled. What completed below it is not redone."""
    allow = TERMINAL if force else (RunState.FAILED, RunState.CANCELLED)

    async def ask(store: Store) -> tuple[RunRecord, bool, bool]:
        id_ = await store.find(run)
        queued = await store.replay(id_, allow)
        record = await store.get(id_)
        return record, queued, await store.served(0, record.task)

    record, queued, served = looking.look(common, ask)
    if not queued:
        raise Sentence(_not_retried(record))
    if common.as_json:
        about = {"id": id_text(record.id), "task": record.task, "status": record.state.name, "served": served}
        output.print_json(about)
    else:
        output.print_line(f"Queued again: {text.clean(record.task)} {id_text(record.id)}")
    if not served:
        output.warn(f"no live worker serves {text.clean(record.task)}: the run stays queued until one does")


def _not_retried(record: RunRecord) -> str:
    who = f"{record.task} {id_text(record.id)}"
    if record.state is RunState.COMPLETED:
        return f"{who} has completed and has its result. --force runs it again all the same."
    return f"{who} is {record.state.name}: only what has ended can be retried. `fanwood runs cancel` ends it."
