"""`fanwood runs`: list, show, cancel and retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from fanwood.cli import listing, looking, output, text
from fanwood.cli.base import Common, Group, Sentence, common
from fanwood.cli.engines import judged
from fanwood.ids import id_text
from fanwood.model.records import LogRecord, RunRecord, TaskCount
from fanwood.model.states import TERMINAL, RunKind, RunState
from fanwood.store import cancelling
from fanwood.store.failures import decode_failure

if TYPE_CHECKING:
    from fanwood.store.store import Store

LOG_LINES = 1000


@click.group(cls=Group, name="runs", epilog="Example:\n  fanwood runs ls --status failed --since 1h")
def command() -> None:
    """List, show, cancel and retry runs. RUN is a run's id, or as much of its beginning as is unique."""


command.add_command(listing.command)


# --- get -------------------------------------------------------------------------------------------------------------


@command.command(
    name="get",
    epilog="Example:\n  fanwood runs get 0192f3a1-7c\n\n"
    "JSON: what `runs ls --json` has, and input, output, deaths, worker_id, deadline,\n"
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
        ("kind", "" if record.kind is RunKind.TASK else record.kind.name.lower()),
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
        ("busy", text.took(record.busy) if record.busy else ""),
        ("due", text.local_time(record.due_at)),
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


@command.command(
    name="cancel",
    epilog="Example:\n  fanwood runs cancel 0192f3a1-7c\n\n"
    "JSON: {id, status, cancelled, more}; `cancelled` counts what has ended so far, `more`: there is more to end",
)
@click.argument("run")
@common
def cancel(run: str, common: Common) -> None:
    """Cancel a run and everything below it. Once this returns, nothing of it starts any more.

    Of a large tree a part has ended then; whichever worker or client there is ends the rest.
    """

    async def ask(store: Store) -> Cancelled:
        id_ = await store.find(run)
        count = await cancelling.cancel(store, id_, "by request")
        swept = await store.sweep(id_)  # tells whether there is more, and does some of it
        served = not swept.more or any(judged(worker, store.now()).live for worker in await store.workers())
        return Cancelled(await store.get(id_), count + swept.ended, swept.more, served)

    done = looking.look(common, ask)
    if common.as_json:
        about = {"id": id_text(done.run.id), "status": done.run.state.name, "cancelled": done.ended, "more": done.more}
        output.print_json(about)
    else:
        output.print_line(_said(done))


class Cancelled(NamedTuple):
    """What a cancellation has done so far."""

    run: RunRecord
    ended: int
    more: bool
    served: bool  # somebody is there who does the rest


def _said(done: Cancelled) -> str:
    who = f"{text.clean(done.run.task)} {id_text(done.run.id)}"
    if done.more:
        rest = "the rest follows" if done.served else "the rest follows once a worker or client is there"
        return f"Cancelled {who}: {text.many(done.ended, 'run has', 'runs have')} ended so far, {rest}"
    if done.ended:
        return f"Cancelled {text.many(done.ended, 'run')}: {who}"
    return f"{who} is {done.run.state.name}: nothing to cancel"


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
