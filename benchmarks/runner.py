"""Runs measurements, each in a process and a folder of its own, and gathers what they yield."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import fanwood
from benchmarks import startup
from benchmarks.catalogue import Benchmark
from benchmarks.databases import Database, Place
from benchmarks.job import Job
from benchmarks.numbers import Figures

CHECKOUT = Path(__file__).parents[1]
TIMEOUT = 900


class MeasurementError(Exception):
    """A measurement ended without figures."""


@dataclass(frozen=True)
class Plan:
    """What to run, how often, and where."""

    benchmarks: Sequence[Benchmark]
    repeat: int
    slots: int
    places: Mapping[str, Place]  # by store; on a disk, or the figures flatter


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
            if result.error is None and not (result.benchmark.once and result.samples):
                benchmark = result.benchmark
                progress(f"{repeat}/{plan.repeat} {benchmark.store} {benchmark.name}")
                try:
                    result.samples.append(_measure(benchmark, result.slots, plan.places[benchmark.store]))
                except MeasurementError as error:
                    result.error = str(error)
    return results


def _measure(benchmark: Benchmark, slots: int, place: Place) -> Figures:
    if benchmark.workload == "cold":
        return _from_outside(lambda new: _cold(benchmark.size, new), place)
    if benchmark.workload == "import":
        return _from_outside(lambda _: {"ms": startup.import_ms(environment())}, place)
    if benchmark.beside_floor:
        return _measure_beside_floor(benchmark, slots, place)
    return _in_process(benchmark.workload, benchmark.size, slots, place)


def _cold(children: int, new: Database) -> Figures:
    return {"seconds": startup.cold_seconds(children, Path(new.folder), environment())}


def _measure_beside_floor(benchmark: Benchmark, slots: int, place: Place) -> Figures:
    """The floor before and the floor after, so that the machine's drift cancels out."""
    before = _in_process("raw_floor", benchmark.size, slots, place)
    figures = _in_process(benchmark.workload, benchmark.size, slots, place)
    after = _in_process("raw_floor", benchmark.size, slots, place)
    floor, bare = (statistics.mean((before[key], after[key])) for key in ("floor", "bare"))
    return {
        **figures,
        "ratio": figures["seconds"] / floor,
        "bare_ratio": figures["seconds"] / bare,
        "floor_rate": benchmark.size / floor,
        "bare_rate": benchmark.size / bare,
    }


def _from_outside(measure: Callable[[Database], Figures], place: Place) -> Figures:
    with place.new() as new:
        try:
            return measure(new)
        except subprocess.CalledProcessError as error:
            raise MeasurementError(_last_line(error.stderr) or f"exit code {error.returncode}") from None
        except (subprocess.TimeoutExpired, AssertionError) as error:
            raise MeasurementError(str(error)) from None


def _in_process(workload: str, size: int, slots: int, place: Place) -> Figures:
    def measure(new: Database) -> Figures:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.workloads"],
            input=Job(workload, size, slots, new).text() + "\n",
            cwd=CHECKOUT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        )
        return json.loads(_last_line(done.stdout))

    return _from_outside(measure, place)


def environment() -> dict[str, str]:
    """The environment, such that the package that is imported here is the one that is measured."""
    package = str(Path(fanwood.__file__).parents[1])
    paths = [package, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
