"""The figures for people (a table) and for programs (JSON)."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.catalogue import DIGITS, Figure
from benchmarks.machine import Machine
from benchmarks.runner import Result

VERSION = 1
"""Of the JSON's shape."""

QUICKEST_FSYNC_MS = 0.01
"""Below that an fsync does nothing: a tmpfs, for instance."""

FOOTNOTES = """\
{repeats} SQLite in WAL mode with synchronous=FULL throughout.
(1) The floor: SQLite alone, one thread: rows with the columns and indexes that a durable child needs in any design
    (id, parent, task, state, priority, input, output, attempt, worker, times; primary key, queue, parent), inserted,
    claimed and completed in batches of 1,000, one transaction each. The target is meant against this one.
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
    def failed(self) -> list[Result]:
        """Benchmarks that yielded nothing."""
        return [result for result in self.results if result.error is not None]

    @property
    def missed(self) -> list[tuple[Result, Figure]]:
        """Figures that are not what was hoped for."""
        return [(r, f) for r in self.results for f in r.benchmark.figures if met(r, f) is False]


def met(result: Result, figure: Figure) -> bool | None:
    """Whether the target was met; None if there is none, or no figure."""
    value = result.value(figure.key)
    return None if figure.target is None or value is None else figure.target.met_by(value)


# --- for people ------------------------------------------------------------------------------------------------------


def table(report: Report) -> str:
    blocks = ["\n".join(_block(result)) for result in report.results]
    repeats = "One measurement of each."
    if report.repeat > 1:
        repeats = f"Medians of {report.repeat}, and in brackets the lowest and highest."
    notes = FOOTNOTES.format(repeats=repeats)
    if report.quick:
        notes = f"Small sizes (--quick): the targets are meant for the full ones.\n{notes}"
    machine = str(report.machine)
    if report.machine.fsync_ms < QUICKEST_FSYNC_MS:
        machine += "\nWARNING: no disk is that quick; these writes stay in memory, and the figures flatter (--url)."
    return "\n\n".join([machine, *blocks, notes])


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
    target = "" if figure.target is None else str(figure.target)
    return f"  {figure.label:34}{shown(value, figure):>10} {figure.unit:3} {spread:22} {target:10} {verdict}"


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
        "name": result.benchmark.name,
        "title": title(result),
        "size": result.benchmark.size,
        "slots": result.slots,
        "error": result.error,
        "figures": [_figure(result, figure) for figure in result.benchmark.figures],
    }


def _figure(result: Result, figure: Figure) -> dict[str, Any]:
    target = figure.target
    return {
        "key": figure.key,
        "label": figure.label,
        "unit": figure.unit,
        "value": result.value(figure.key),
        "samples": result.series(figure.key),
        "target": None if target is None else {"at_most" if target.at_most else "at_least": target.bound},
        "met": met(result, figure),
    }
