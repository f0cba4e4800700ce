"""The figures for people (a table) and for programs (JSON)."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.catalogue import DIGITS, Figure, Target
from benchmarks.databases import POSTGRES, SQLITE, STORES
from benchmarks.machine import Machine
from benchmarks.runner import Result

VERSION = 2
"""Of the JSON's shape."""

QUICKEST_FSYNC_MS = 0.01
"""Below that an fsync does nothing: a tmpfs, for instance."""

NAMES = {SQLITE: "SQLite", POSTGRES: "PostgreSQL"}
DURABILITY = {
    SQLITE: "SQLite in WAL mode with synchronous=FULL throughout.",
    POSTGRES: "PostgreSQL with the settings above.",
}
BARE_SQL = {
    SQLITE: "SQLite alone, one thread",
    POSTGRES: "PostgreSQL alone, one connection (COPY, and arrays)",
}
FLOORS = """\
(1) The floor: {bare_sql}: rows with the columns and
    indexes that a durable child needs in any design (id, parent, task, state, priority, input, output, attempt, worker,
    times; primary key, queue, parent), inserted, claimed and completed in batches of 1,000, one transaction each. The
    target is meant against this one.
(2) The bare floor: the same with three columns (id, state, payload), the least that could be called a queue.
Both are measured before and after each fan-out, and their mean is what it is compared with."""


@dataclass(frozen=True)
class Report:
    """One run of the benchmark."""

    machine: Machine
    results: Sequence[Result]
    repeat: int
    quick: bool
    when: str  # ISO 8601

    @property
    def stores(self) -> list[str]:
        return [store for store in STORES if self.of(store)]

    def of(self, store: str) -> list[Result]:
        return [result for result in self.results if result.benchmark.store == store]

    @property
    def failed(self) -> list[Result]:
        """Benchmarks that yielded nothing."""
        return [result for result in self.results if result.error is not None]

    @property
    def missed(self) -> list[tuple[Result, Figure]]:
        """Figures that are not what was hoped for."""
        return [(r, f) for r in self.results for f in r.benchmark.figures if met(r, f) is False]


def met(result: Result, figure: Figure) -> bool | None:
    """Whether the target was met; None if there is none, or no figure."""
    value, wanted = result.value(figure.key), target(result, figure)
    return None if wanted is None or value is None else wanted.met_by(value)


def target(result: Result, figure: Figure) -> Target | None:
    return figure.targets.get(result.benchmark.store)


# --- for people ------------------------------------------------------------------------------------------------------


def table(report: Report) -> str:
    machine = str(report.machine)
    if report.machine.fsync_ms < QUICKEST_FSYNC_MS:
        machine += "\nWARNING: no disk is that quick; these writes stay in memory, and the figures flatter (--url)."
    if report.machine.postgres is not None and not report.machine.postgres.durable:
        machine += "\nWARNING: this server may lose what it has confirmed, and its figures flatter."
    blocks = [machine]
    for store in report.stores:
        blocks.append(f"{NAMES[store]}\n{'=' * len(NAMES[store])}")
        blocks += ["\n".join(_block(result)) for result in report.of(store)]
    return "\n\n".join([*blocks, "\n".join(_notes(report))])


def _notes(report: Report) -> Iterator[str]:
    if report.quick:
        yield "Small sizes (--quick): the targets are meant for the full ones."
    repeats = "One measurement of each."
    if report.repeat > 1:
        repeats = f"Medians of {report.repeat}, and in brackets the lowest and highest."
    yield " ".join([repeats, *(DURABILITY[store] for store in report.stores)])
    yield FLOORS.format(bare_sql="; ".join(BARE_SQL[store] for store in report.stores))


def _block(result: Result) -> Iterator[str]:
    yield title(result)
    if result.error is not None:
        yield f"  FAILED: {result.error}"
        return
    for figure in result.benchmark.figures:
        yield _line(result, figure).rstrip()


def title(result: Result) -> str:
    return result.benchmark.title.format(size=f"{result.benchmark.size:,}", slots=result.slots)


def _line(result: Result, figure: Figure) -> str:
    value, series = result.value(figure.key), result.series(figure.key)
    assert value is not None
    spread = f"({shown(min(series), figure)} - {shown(max(series), figure)})" if len(series) > 1 else ""
    verdict = {True: "ok", False: "MISSED", None: ""}[met(result, figure)]
    wanted = str(target(result, figure) or "")
    return f"  {figure.label:34}{shown(value, figure):>10} {figure.unit:3} {spread:22} {wanted:10} {verdict}"


def shown(value: float, figure: Figure) -> str:
    return f"{value:,.{DIGITS[figure.unit]}f}"


# --- for programs ----------------------------------------------------------------------------------------------------


def as_json(report: Report) -> dict[str, Any]:
    return {
        "version": VERSION,
        "when": report.when,
        "machine": asdict(report.machine),
        "repeat": report.repeat,
        "quick": report.quick,
        "benchmarks": [_benchmark(result) for result in report.results],
    }


def _benchmark(result: Result) -> dict[str, Any]:
    return {
        "store": result.benchmark.store,
        "name": result.benchmark.name,
        "title": title(result),
        "size": result.benchmark.size,
        "slots": result.slots,
        "error": result.error,
        "figures": [_figure(result, figure) for figure in result.benchmark.figures],
    }


def _figure(result: Result, figure: Figure) -> dict[str, Any]:
    wanted = target(result, figure)
    return {
        "key": figure.key,
        "label": figure.label,
        "unit": figure.unit,
        "value": result.value(figure.key),
        "samples": result.series(figure.key),
        "target": None if wanted is None else {"at_most" if wanted.at_most else "at_least": wanted.bound},
        "met": met(result, figure),
    }
