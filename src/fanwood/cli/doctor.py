"""`fanwood doctor`: is the store sound, and does anybody work on it?"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common, Exit
from fanwood.cli.engines import Engine, judged
from fanwood.cli.output import Column
from fanwood.clock import MICROSECONDS, SystemClock
from fanwood.errors import StoreError
from fanwood.ids import id_text
from fanwood.lens.recount import recount
from fanwood.model.invariants import LATE
from fanwood.model.records import StoreReport, Unserved, WorkerRecord
from fanwood.model.states import UNFINISHED, RunState
from fanwood.store.auditing import findings
from fanwood.store.urls import without_password

if TYPE_CHECKING:
    from fanwood.store.store import Store

FACTS = 13
"""Columns of what a fact is about."""
SHOWN = 10
"""So many findings in the rows of runs."""
NOBODY = 0
"""No worker has this number."""
NOT_COUNTED = {
    "SQLite": "runs that have ended are not counted; --full counts them and checks the whole file",
    "PostgreSQL": "runs that have ended are not counted; --full counts them",
}


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found, and what is wrong with it."""

    url: str
    report: StoreReport | None = None
    engines: list[Engine] = field(default_factory=list[Engine])
    closing: bool = False  # what is below something that ended is being ended
    problems: list[str] = field(default_factory=list[str])


def doctor(full: bool, common: Common) -> None:
    found = _examine(common, full=full)
    if common.as_json:
        output.print_json(_json(found))
    else:
        _print(found)
    raise SystemExit(Exit.FAILED if found.problems else Exit.DONE)


def _examine(common: Common, *, full: bool) -> Findings:
    async def ask(store: Store) -> tuple[StoreReport, list[WorkerRecord], list[Unserved], bool, list[str]]:
        closing = (await store.look_around(NOBODY, "")).closed
        report, workers = await store.report(full=full), await store.workers()
        audit = await _audit(store, attended=_is_attended(workers, report.now), full=full)
        if full:
            audit += [f"{differs}. Please report it." for differs in await recount(store, SystemClock())]
        return report, workers, await store.unserved(), closing, audit

    url = without_password(common.settings().database_url)
    try:
        report, workers, unserved, closing, audit = looking.look(common, ask)
    except StoreError as error:
        return Findings(url, problems=[str(error)])
    engines = [judged(worker, report.now) for worker in workers]
    problems = [*report.problems, *_problems(report, engines, unserved), *audit]
    return Findings(report.url, report, engines, closing, problems)


def _is_attended(workers: list[WorkerRecord], now: int) -> bool:
    """Whether some engine has lived for so long that what is late should have been seen to."""
    return any(worker.lease_expires_at > now and worker.started_at < now - LATE for worker in workers)


async def _audit(store: Store, *, attended: bool, full: bool) -> list[str]:
    """What must not be, the first of it."""
    shown: list[str] = []
    async for found in findings(store, full=full, attended=attended):
        if len(shown) == SHOWN:
            return [*shown, f"... and more like that (the first {SHOWN} are shown)"]
        shown.append(f"{found}. Please report it.")
    return shown


def _problems(report: StoreReport, engines: list[Engine], unserved: list[Unserved]) -> list[str]:
    found: list[str] = []
    if report.orphans:
        shown = ", ".join(id_text(orphan) for orphan in report.orphans[:5])
        found.append(
            f"{text.many(len(report.orphans), 'run')} RUNNING under no worker, e.g. {shown}. Please report it."
        )
    lost = sum(engine.record.running for engine in engines if not engine.live)
    if lost:
        found.append(f"{text.many(lost, 'run')} of lost workers: they go on when any worker or client starts")
    unfinished = sum(report.counts.get(state, 0) for state in UNFINISHED)
    if unfinished > lost and not any(engine.live and engine.record.slots for engine in engines):
        found.append(f"{text.many(unfinished, 'unfinished run')} and no live worker: they wait until one starts")
        return found
    for each in unserved:
        runs, age = text.many(each.count, "queued run"), text.took(report.now - each.oldest)
        it = "it" if each.count == 1 else "them"
        found.append(f"{runs} of {text.clean(each.task)} (oldest {age}): no live worker serves {it}")
    return found


def _print(findings: Findings) -> None:
    report = findings.report
    _fact("store", findings.url)
    if report is not None:
        _fact("kind", f"{report.kind} {report.version}, schema version {report.schema}, {text.size(report.size)}")
        _fact("durability", report.durability)
        counts = ", ".join(
            f"{report.counts[state]:,} {state.name.lower()}" for state in RunState if report.counts.get(state)
        )
        _fact("runs", counts or ("none" if report.counted else "none unfinished"))
        if not report.counted:
            _fact("", NOT_COUNTED[report.kind])
        if findings.closing:
            _fact("closing", "what is below runs that have ended or were cancelled is being ended")
        _fact("orphans", f"{len(report.orphans)}" if report.orphans else "none")
        _print_engines(findings.engines)
    for problem in findings.problems:
        output.print_line(("problem", "bold red"), f"      {text.clean(problem, 1000)}")
    if not findings.problems:
        output.print_line(("All is well.", "green"))


def _fact(name: str, value: str) -> None:
    said = text.clean(value)
    room = max(20, output.width() - FACTS) if output.on_terminal() else len(said) + 1
    lines = textwrap.wrap(said, room, break_on_hyphens=False, break_long_words=False)
    for n, line in enumerate(lines or [""]):
        output.print_line((f"{'' if n else name:<{FACTS}}", "dim"), line)


def _print_engines(engines: list[Engine]) -> None:
    if not engines:
        _fact("workers", "none")
        return
    columns = [Column(name) for name in ("engine", "kind", "host", "pid", "slots", "running", "lease")]
    output.print_table(columns, [_row(engine) for engine in engines])


def _row(engine: Engine) -> list[output.Cell]:
    worker = engine.record
    return [
        text.clean(worker.name),
        engine.kind,
        text.clean(worker.host.partition("/")[0]),
        str(worker.pid),
        str(worker.slots),
        f"{worker.running:,}",
        (engine.verdict, "green" if engine.live else "red"),
    ]


def _json(findings: Findings) -> dict[str, Any]:
    report = findings.report
    return {
        "url": findings.url,
        "store": None if report is None else _store_json(report),
        "counted": report is not None and report.counted,
        "runs": {} if report is None else _counts_json(report),
        "closing": findings.closing,
        "orphans": [] if report is None else [id_text(orphan) for orphan in report.orphans],
        "engines": [] if report is None else [_engine_json(engine, report.now) for engine in findings.engines],
        "problems": findings.problems,
    }


def _counts_json(report: StoreReport) -> dict[str, int | None]:
    known = RunState if report.counted else UNFINISHED
    return {state.name: report.counts.get(state, 0) if state in known else None for state in RunState}


def _store_json(report: StoreReport) -> dict[str, Any]:
    return {
        "kind": report.kind,
        "version": report.version,
        "schema": report.schema,
        "durability": report.durability,
        "durable": report.durable,
        "bytes": report.size,
    }


def _engine_json(engine: Engine, now: int) -> dict[str, Any]:
    worker = engine.record
    return {
        "id": worker.id,
        "name": worker.name,
        "host": worker.host.partition("/")[0],
        "pid": worker.pid,
        "kind": engine.kind,
        "live": engine.live,
        "verdict": engine.verdict,
        "slots": worker.slots,
        "running": worker.running,
        "started_at": text.instant(worker.started_at),
        "lease_seconds_left": (worker.lease_expires_at - now) / MICROSECONDS,
    }
