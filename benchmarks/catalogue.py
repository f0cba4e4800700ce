"""What there is to measure, how large, and what figure is hoped for."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

DIGITS = {"/s": 0, "ms": 2, "s": 2, "MB": 0, "x": 2}  # digits shown after the point, by unit


@dataclass(frozen=True)
class Target:
    """A bound that a figure should keep."""

    bound: float
    at_most: bool

    def met_by(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:,g}"


def at_most(bound: float) -> Target:
    return Target(bound, at_most=True)


def at_least(bound: float) -> Target:
    return Target(bound, at_most=False)


@dataclass(frozen=True)
class Figure:
    """One number that a benchmark yields."""

    key: str
    label: str
    unit: str
    target: Target | None = None


@dataclass(frozen=True)
class Benchmark:
    """One measurement: its name on the command line, and what it is. `{size}` and `{slots}` stand in the title."""

    name: str
    title: str
    workload: str
    figures: tuple[Figure, ...]
    size: int
    quick: int
    slots: int | None = None  # None: as the command line says
    beside_floor: bool = False


def _fan_out(name: str, size: int, quick: int, *, targets: bool = False) -> Benchmark:
    figures = (
        Figure("rate", "children", "/s", at_least(20_000) if targets else None),
        Figure("ratio", "time, in floors (1)", "x", at_most(3.5) if targets else None),
        Figure("bare_ratio", "time, in bare floors (2)", "x"),
        Figure("floor_rate", "floor (1), the same minute", "/s"),
        Figure("bare_rate", "bare floor (2), the same minute", "/s"),
        Figure("memory", "peak memory of the process", "MB", at_most(300) if targets else None),
    )
    title = "fan-out: {size} async children, all results collected"
    return Benchmark(name, title, "fan_out", figures, size, quick, beside_floor=True)


def _recursion(name: str, how: str, workload: str, slots: int, target: float | None) -> Benchmark:
    figure = Figure("seconds", "the whole tree", "s", None if target is None else at_most(target))
    title = f"recursion: a binary tree of {{size}} {how} runs, slots={slots}"
    return Benchmark(name, title, workload, (figure,), 2047, 255, slots=slots)


BENCHMARKS: tuple[Benchmark, ...] = (
    _fan_out("fanout-1k", 1_000, 200),
    _fan_out("fanout-10k", 10_000, 1_000),
    _fan_out("fanout-100k", 100_000, 5_000, targets=True),
    Benchmark(
        "sync",
        "fan-out: {size} sync children, in threads",
        "fan_out_sync",
        (Figure("rate", "children", "/s", at_least(8_000)), Figure("memory", "peak memory of the process", "MB")),
        20_000,
        1_000,
    ),
    Benchmark(
        "sequential",
        "one after another: {size} children, each awaited",
        "sequence",
        (
            Figure("p50", "one child (two commits), median", "ms", at_most(1)),
            Figure("p99", "one child, 99th percentile", "ms"),
            Figure("fsync", "4 KiB + fsync, the same minute", "ms"),
        ),
        500,
        100,
    ),
    _recursion("recursion", "async", "tree", 1, 2),
    _recursion("recursion-wide", "async", "tree", 100, 0.5),
    _recursion("recursion-sync", "sync", "tree_sync", 1, 2),
    _recursion("recursion-mixed", "sync and async", "tree_mixed", 1, 2),
    Benchmark(
        "bulk",
        "bulk spawn: {size} runs from a client, none executed",
        "bulk",
        (Figure("rate", "runs stored", "/s"), Figure("memory", "peak memory of the process", "MB")),
        100_000,
        5_000,
    ),
    Benchmark(
        "waiting",
        "waiting: {size} parents that each await 3 children, slots={slots}",
        "waiting",
        (Figure("seconds", "all parents", "s"),),
        1_000,
        100,
        slots=8,
    ),
    Benchmark(
        "resume",
        "resume: a retried parent finds its {size} completed children",
        "resume",
        (Figure("seconds", "second try: none runs again", "s"), Figure("first", "first try: all run", "s")),
        10_000,
        500,
    ),
    Benchmark(
        "cold",
        "cold start: python examples/fanout.py, {size} children, new database",
        "cold",
        (Figure("seconds", "wall time of the process", "s", at_most(0.6)),),
        100,
        100,
    ),
    Benchmark(
        "import",
        "import fanwood",
        "import",
        (Figure("ms", "beyond what a bare python takes", "ms", at_most(150)),),
        1,
        1,
    ),
)


def names() -> list[str]:
    return [benchmark.name for benchmark in BENCHMARKS]


def chosen(only: Iterable[str]) -> list[Benchmark]:
    """Those whose names begin with one of `only`; all, if it names none.

    Raises:
        ValueError: nothing begins so.
    """
    wanted = list(only)
    for start in wanted:
        if not any(name.startswith(start) for name in names()):
            raise ValueError(f"no benchmark's name begins with {start!r}; there are: {', '.join(names())}")
    return [b for b in BENCHMARKS if not wanted or any(b.name.startswith(start) for start in wanted)]


def sized(benchmark: Benchmark, *, quick: bool, size: int | None) -> Benchmark:
    """`benchmark` with the size that it is to have; `size` bounds all of them."""
    most = benchmark.quick if quick else benchmark.size
    if size is not None:
        most = min(most, size)
    if benchmark.workload.startswith("tree"):
        most = 2 ** ((most + 1).bit_length() - 1) - 1  # full trees only
    return replace(benchmark, size=most)
