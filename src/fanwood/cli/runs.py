"""`fanwood runs`: list, show, and what is done to runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fanwood.cli import forking, looking, output, text
from fanwood.cli.base import Common
from fanwood.cli.finding import find
from fanwood.ids import id_text, short_text
from fanwood.lens.briefs import kin_of
from fanwood.model.forks import Lineage
from fanwood.model.lives import life_of
from fanwood.model.records import AttemptRecord, LogRecord, Pause, RunRecord, TaskCount
from fanwood.model.states import RunKind
from fanwood.store.failures import attempt_error, decode_failure, summary
from fanwood.store.progress import Progress, progress_of
from fanwood.store.version import version_of

if TYPE_CHECKING:
    from fanwood.lens.views import KinView
    from fanwood.store.store import Store

LOG_LINES = 1000
"""So many lines of a log are shown, the last ones."""
MOST_LINES, MOST_SHOWN = 100, 8_000
"""Lines and characters of an input or output on a terminal."""


# --- get -------------------------------------------------------------------------------------------------------------


def get(run: str | None, common: Common) -> None:

    async def ask(store: Store) -> _Shown:
        id_ = await find(store, run, common.settings().namespace)
        logs = await store.logs(id_, max(-1, await store.log_end(id_) - LOG_LINES), LOG_LINES)
        attempts, children = await store.attempts(id_), await store.child_counts(id_)
        progress, about = await progress_of(store, id_), await store.circumstances(id_)
        lineage, forks = await forking.lineage_of(store, about.run)
        version = await version_of(store, id_, about.run.life)
        kin = (await kin_of(store, [about.run])).get(id_)
        now, paused = store.now(), about.paused
        return _Shown(about.run, attempts, children, logs, progress, now, paused, lineage, forks, version, kin)

    shown = looking.look(common, ask)
    record, attempts, children, logs = shown.record, shown.attempts, shown.children, shown.logs
    left_out = logs[0].seq if logs else 0
    if common.as_json:
        output.print_json({**_whole_json(shown), "logs_left_out": left_out})
        return
    _print_facts(shown)
    _print_payload("input", record, record.input)
    if record.output is not None:
        _print_payload("output", record, record.output)
    _print_error(record)
    if any(attempt.number < record.attempt for attempt in attempts):
        _print_block("attempts", "\n".join(attempt_line(attempt) for attempt in attempts))
    if children:
        lines = [f"{text.clean(task)}: {_counts(states)}" for task, states in looking.counts_json(children).items()]
        _print_block("children", "\n".join(lines))
    if logs:
        more = f"{left_out:,} earlier lines: fanwood logs {short_text(record.id)} --all\n" if left_out else ""
        _print_block("logs", more + "\n".join(log_line(line) for line in logs))


class _Shown(NamedTuple):
    record: RunRecord
    attempts: list[AttemptRecord]
    children: list[TaskCount]
    logs: list[LogRecord]
    progress: Progress | None
    now: int
    pause: Pause | None
    lineage: Lineage | None
    forks: list[Lineage]
    version: str | None
    kin: KinView | None


def _whole_json(shown: _Shown) -> dict[str, Any]:
    record, attempts, children, logs, progress, now, pause, lineage, forks, version, kin = shown
    return {
        **looking.whole_run_json(record, now),
        "deaths": record.deaths,
        "version": version,
        "started_over": 0 if (life := life_of(record.life)) is None else life.number,
        "started_over_at": None if life is None else text.instant(life.at),
        "worker_id": record.worker_id,
        "deadline": text.instant(record.deadline),
        "paused": looking.paused_json(pause),
        "fork": forking.fork_json(record, lineage),
        "forks": forking.forks_json(forks),
        "kin": looking.kin_json(kin),
        "progress": None if progress is None else msgspec.structs.asdict(progress),
        "attempts": [looking.attempt_json(attempt) for attempt in attempts],
        "children": looking.counts_json(children),
        "logs": [looking.log_json(line) for line in logs],
    }


def _paused(record: RunRecord, pause: Pause) -> str:
    above = "" if pause.run_id == record.id else f"{short_text(pause.run_id)}, above it, is "
    return f"{above}{looking.paused(pause)}"


def _said(progress: Progress | None) -> str:
    """`3 of 10: files`; nothing if it said nothing."""
    if progress is None:
        return ""
    of = "" if progress.total is None else f" of {progress.total:,}"
    return f"{progress.done:,}{of}" + (f": {text.clean(progress.message, 300)}" if progress.message else "")


def _lives(record: RunRecord) -> str:
    """`3 times, last 2026-01-02 12:03:44`; nothing if it never has."""
    life = life_of(record.life)
    return "" if life is None else f"{text.many(life.number, 'time')}, last {text.local_time(life.at)}"


def _print_facts(shown: _Shown) -> None:
    record, progress, now, pause = shown.record, shown.progress, shown.now, shown.pause
    facts: list[tuple[str, output.Cell]] = [
        ("id", id_text(record.id)),
        ("task", text.clean(record.task)),
        ("kind", "" if record.kind is RunKind.TASK else record.kind.name.lower()),
        ("state", output.state_cell(record.state)),
        ("paused", "" if pause is None else _paused(record, pause)),
        ("parent", id_text(record.parent_id) if record.parent_id else ""),
        ("root", id_text(record.root_id) if record.parent_id else ""),
        ("made as", forking.fork_fact(record, shown.lineage)),
        ("forks", forking.forks_fact(shown.forks)),
        ("kin", "" if shown.kin is None else looking.kin(shown.kin)),
        ("child key" if record.parent_id else "key", text.clean(record.child_key or "")),
        ("progress", _said(progress)),
        ("attempt", f"{record.attempt}"),
        ("version", text.clean(shown.version or "")),
        ("started over", _lives(record)),
        ("retries", f"{record.retry_count}" if record.retry_count else ""),
        ("deaths", f"{record.deaths} worker(s) died while executing it" if record.deaths else ""),
        ("priority", f"{record.priority}"),
        ("metadata", text.clean(record.metadata or "", 2000)),
        ("created", text.local_time(record.created_at)),
        ("started", text.local_time(record.started_at)),
        ("finished", text.local_time(record.finished_at)),
        ("took", _took(record, now)),
        ("busy", text.took(record.busy) if record.busy else ""),
        ("due", text.local_time(record.until)),
        ("deadline", text.local_time(record.deadline)),
    ]
    for name, value in facts:
        if output.plain(value):
            output.print_line((f"{name:<13}", "dim"), value)


def _took(record: RunRecord, now: int) -> str:
    """Of the last attempt: those before have lines of their own."""
    took = text.took(looking.ended_at(record, now))
    return f"{took} (attempt {record.attempt})" if took and record.attempt > 1 else took


def _print_error(record: RunRecord) -> None:
    if record.error is None:
        return
    failure = decode_failure(record.error)
    heading = "error" if record.state.is_terminal else "error of the last attempt"
    _print_block(heading, summary(failure))
    if failure.traceback:
        _print_block("traceback", failure.traceback.rstrip())


def _print_block(heading: str, block: str) -> None:
    output.print_line((f"{heading}:", "bold"))
    for line in text.clean_block(block).split("\n"):
        output.print_line(f"  {line}")


def _print_payload(heading: str, record: RunRecord, data: str | None) -> None:
    """What went in or came out; of what is very long a terminal gets the beginning."""
    block = _pretty(data)
    lines = block.split("\n")
    if output.on_terminal() and (len(block) > MOST_SHOWN or len(lines) > MOST_LINES):
        shown = "\n".join(lines[:MOST_LINES])[:MOST_SHOWN]
        block = (
            f"{shown}\n... {text.size(len((data or '').encode()))} in all; whole: "
            f"fanwood runs get {short_text(record.id)} --json | less"
        )
    _print_block(heading, block)


def _pretty(data: str | None) -> str:
    try:
        return msgspec.json.format((data or "null").encode(), indent=2).decode()
    except msgspec.DecodeError:  # somebody wrote it by hand
        return data or ""


def _counts(states: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {state.lower()}" for state, count in states.items())


def attempt_line(attempt: AttemptRecord) -> str:
    """What became of an attempt, for people."""
    parts = [f"{attempt.number}  {text.local_time(attempt.started_at)}  {attempt.state.name.lower()}"]
    if attempt.started_at is not None and attempt.finished_at is not None:
        parts.append(f"in {text.took(attempt.finished_at - attempt.started_at)}")
    if attempt.worker:
        parts.append(f"on {text.clean(attempt.worker)}")
    return " ".join(parts) + why(attempt)


def why(attempt: AttemptRecord) -> str:
    """`: ValueError: no stock`; nothing for one that hasn't failed."""
    failure = attempt_error(attempt)
    return "" if failure is None else f": {text.clean(summary(failure), 300)}"


def log_line(line: LogRecord) -> str:
    """A line of a log, for people."""
    return f"{text.local_time(line.at)}  {line.level:<8} {line.message}"
