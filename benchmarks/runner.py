"""Runs measurements, each in a process and a folder of its own, and gathers what they yield."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import fanwood
from benchmarks import startup
from benchmarks.catalogue import Benchmark
from benchmarks.workloads import Figures, Job

CHECKOUT = Path(__file__).parents[1]
TIMEOUT = 120


class MeasurementError(Exception):
    """A measurement ended without figures."""


@dataclass(frozen=True)
class Plan:
    """What to run, how often, and where."""

    benchmarks: Sequence[Benchmark]
    repeat: int
    slots: int
    folder: Path  # on a disk, or the figures flatter


@dataclass
class Result:
    """What one benchmark yielded, repeat by repeat."""

    benchmark: Benchmark
    slots: int
    samples: list[Figures] = field(default_factory=list[Figures])
    error: str | None = None

    def series(self, key: str) -> list[float]:
        return [sample[key] for sample in self.samples]

    def value(self, key: str) -> float | None:
        series = self.series(key)
        return statistics.median(series) if series else None


def run(plan: Plan, progress: Callable[[str], None]) -> list[Result]:
    """Everything once, then again, ...: so that a bad minute of the machine spoils one repeat and not one figure."""
    results = [Result(b, plan.slots if b.slots is None else b.slots) for b in plan.benchmarks]
    for repeat in range(1, plan.repeat + 1):
        for result in results:
            if result.error is None:
                progress(f"{repeat}/{plan.repeat} {result.benchmark.name}")
                try:
                    result.samples.append(_measure(result.benchmark, result.slots, plan.folder))
                except MeasurementError as error:
                    result.error = str(error)
    return results


def _measure(benchmark: Benchmark, slots: int, folder: Path) -> Figures:
    if benchmark.workload == "cold":
        return _from_outside(lambda new: {"seconds": startup.cold_seconds(benchmark.size, new, environment())}, folder)
    if benchmark.workload == "import":
        return _from_outside(lambda _: {"ms": startup.import_ms(environment())}, folder)
    if benchmark.beside_floor:
        return _measure_beside_floor(benchmark, slots, folder)
    return _in_process(benchmark.workload, benchmark.size, slots, folder)


def _measure_beside_floor(benchmark: Benchmark, slots: int, folder: Path) -> Figures:
    """The floor before and the floor after, so that the machine's drift cancels out."""
    before = _in_process("raw_floor", benchmark.size, slots, folder)
    figures = _in_process(benchmark.workload, benchmark.size, slots, folder)
    after = _in_process("raw_floor", benchmark.size, slots, folder)
    floor, bare = (statistics.mean((before[key], after[key])) for key in ("floor", "bare"))
    return {
        **figures,
        "ratio": figures["seconds"] / floor,
        "bare_ratio": figures["seconds"] / bare,
        "floor_rate": benchmark.size / floor,
        "bare_rate": benchmark.size / bare,
    }


def _from_outside(measure: Callable[[Path], Figures], folder: Path) -> Figures:
    with tempfile.TemporaryDirectory(dir=folder) as new:
        try:
            return measure(Path(new))
        except subprocess.CalledProcessError as error:
            raise MeasurementError(_last_line(error.stderr) or f"exit code {error.returncode}") from None
        except (subprocess.TimeoutExpired, AssertionError) as error:
            raise MeasurementError(str(error)) from None


def _in_process(workload: str, size: int, slots: int, folder: Path) -> Figures:
    def measure(new: Path) -> Figures:
        job = Job(workload, size, slots, str(new))
        command = [sys.executable, "-m", "benchmarks.workloads", job.text()]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=True
        )
        return json.loads(_last_line(done.stdout))

    return _from_outside(measure, folder)


def environment() -> dict[str, str]:
    """The environment, such that the package that is imported here is the one that is measured."""
    package = str(Path(fanwood.__file__).parents[1])
    paths = [package, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
