"""What a soak found: a line now and then, a table at the end, JSON for programs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.machine import Machine
from benchmarks.soak_figures import Verdict, figure_of, in_order, judge
from benchmarks.soak_looking import Figures
from benchmarks.soak_pace import STEADY

VERSION = 1
"""Of the JSON's shape."""
LEFT_OUT = 0.01
"""Of the steady time's trees, so many may not be started."""
NEEDED = 6
"""Samples; with fewer nothing is judged."""


@dataclass(frozen=True)
class Sample:
    at: float  # seconds since the start
    phase: str
    figures: Figures


@dataclass
class Report:
    machine: Machine
    options: Mapping[str, Any]
    samples: list[Sample] = field(default_factory=list[Sample])
    limit: float | None = None  # trees per second, if the search met it
    failures: list[str] = field(default_factory=list[str])
    complaints: list[str] = field(default_factory=list[str])  # of the workers
    when: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    @property
    def steady(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.phase == STEADY]

    def note_left_out(self, trees: float, rate: float) -> None:
        """So many were not started in the steady time, since the database or the workers were too far behind."""
        if trees > LEFT_OUT * rate * (self.steady[-1].at - self.steady[0].at if self.steady else 0):
            self.failures.append(f"{trees:,.0f} trees were left out: {rate:,.0f} trees/s could not be kept")

    def verdicts(self) -> list[Verdict]:
        """Of the steady time; nothing if it was too short."""
        if len(self.steady) < NEEDED:
            return []
        return [
            verdict for key in in_order({key for s in self.steady for key in s.figures}) for verdict in self._of(key)
        ]

    def _of(self, key: str) -> list[Verdict]:
        seen = [(sample.at, sample.figures[key]) for sample in self.steady if key in sample.figures]
        if len(seen) < NEEDED:
            return []
        return [judge(figure_of(key), [at for at, _ in seen], [value for _, value in seen])]


# --- a line now and then ---------------------------------------------------------------------------------------------

HEAD = (
    f"{'time':>6} {'phase':<7} {'rate':>6} {'trees/s':>8} {'unfinished':>10} {'tree p50':>9} {'p99 ms':>8} "
    f"{'child p50':>9} {'p99 ms':>8} {'oldest s':>8} {'size MB':>8} {'dead':>9} {'walk':>6} {'RSS MB':>7}"
)


def line(sample: Sample) -> str:
    def shown(key: str, digits: int = 0) -> str:
        value = sample.figures.get(key)
        return "-" if value is None else f"{value:,.{digits}f}"

    size = "all" if "all" in sample.figures else "file"
    minutes, seconds = divmod(round(sample.at), 60)
    return (
        f"{minutes:>3}:{seconds:02} {sample.phase:<7} {shown('rate'):>6} {shown('trees'):>8} {shown('unfinished'):>10} "
        f"{shown('tree_p50', 1):>9} {shown('tree_p99', 1):>8} {shown('child_p50', 1):>9} {shown('child_p99', 1):>8} "
        f"{shown('oldest'):>8} {shown(size):>8} {shown('dead:run'):>9} {shown('walk_pages'):>6} "
        f"{shown('worker_memory', 1):>7}"
    )


# --- at the end ------------------------------------------------------------------------------------------------------


def table(report: Report, verdicts: Sequence[Verdict]) -> str:
    lines = ["", str(report.machine)]
    if report.limit is not None:
        lines.append(f"The machine gave {report.limit:,.0f} trees/s at its limit.")
    if verdicts:
        start, end = report.steady[0].at / 60, report.steady[-1].at / 60
        lines += ["", f"From minute {start:.1f} to minute {end:.1f}, medians of the first third and the last:", ""]
        width = max(len(verdict.figure.label) for verdict in verdicts)
        lines += [_row(verdict, width) for verdict in verdicts if not _is_idle(verdict)]
    else:
        lines.append(f"There are {len(report.steady)} samples of the steady time; with less than {NEEDED} of them "
                     f"nothing is judged. Let it run for longer.")  # fmt: skip
    bad = [f"{v.figure.label}: {v.judgement}" for v in verdicts if v.bad]
    lines += ["", *(f"WRONG: {failure}" for failure in report.failures)]
    lines += [f"a worker said: {complaint}" for complaint in report.complaints]
    lines.append(f"{len(bad)} of them: {'; '.join(bad)}" if bad else "Nothing grows." if verdicts else "Not judged.")
    return "\n".join(lines)


def _is_idle(verdict: Verdict) -> bool:
    """A table or index in which nothing goes on, and which only the JSON need mention."""
    return ":" in verdict.figure.key and not verdict.bad and max(verdict.first, verdict.last) < 0.5


def _row(verdict: Verdict, width: int) -> str:
    figure, ratio = verdict.figure, verdict.ratio
    shown = "" if ratio is None else f"x {ratio:.2f}"
    return (
        f"{figure.label:<{width}} {_number(verdict.first):>12} {_number(verdict.last):>12} {figure.unit:<4} "
        f"{shown:>8}  {verdict.judgement}"
    ).rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def as_json(report: Report, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "when": report.when,
        "machine": asdict(report.machine),
        "options": dict(report.options),
        "limit": report.limit,
        "failures": report.failures,
        "complaints": report.complaints,
        "verdicts": [
            {
                "key": verdict.figure.key,
                "label": verdict.figure.label,
                "unit": verdict.figure.unit,
                "first": verdict.first,
                "last": verdict.last,
                "ratio": verdict.ratio,
                "change": verdict.change,
                "verdict": verdict.judgement or None,
            }
            for verdict in verdicts
        ],
        "samples": [asdict(sample) for sample in report.samples],
    }
