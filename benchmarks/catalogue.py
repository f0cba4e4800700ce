"""What there is to measure, how large, and what figure is hoped for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from benchmarks.databases import POSTGRES, SQLITE, STORES

DIGITS = {"/s": 0, "ms": 2, "s": 2, "MB": 0, "x": 2, "%": 0}  # digits shown after the point, by unit


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


def on_both(target: Target) -> Mapping[str, Target]:
    return dict.fromkeys(STORES, target)


@dataclass(frozen=True)
class Figure:
    """One number that a benchmark yields."""

    key: str
    label: str
    unit: str
    targets: Mapping[str, Target] = field(default_factory=dict[str, Target])  # by store
    stores: tuple[str, ...] = STORES


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
    stores: tuple[str, ...] = STORES
    once: bool = False  # it takes minutes: not repeated
    store: str = SQLITE  # the one that is measured


def _fan_out(name: str, size: int, quick: int, *, targets: bool = False) -> Benchmark:
    rate = {SQLITE: at_least(20_000), POSTGRES: at_least(15_000)}
    ratio = {SQLITE: at_most(3.5), POSTGRES: at_most(2.5)}
    figures = (
        Figure("rate", "children", "/s", rate if targets else {}),
        Figure("ratio", "time, in floors (1)", "x", ratio if targets else {}),
        Figure("bare_ratio", "time, in bare floors (2)", "x"),
        Figure("floor_rate", "floor (1), the same minute", "/s"),
        Figure("bare_rate", "bare floor (2), the same minute", "/s"),
        Figure("memory", "peak memory of the process", "MB", on_both(at_most(300)) if targets else {}),
    )
    title = "fan-out: {size} async children, all results collected"
    return Benchmark(name, title, "fan_out", figures, size, quick, beside_floor=True)


def _recursion(name: str, how: str, workload: str, slots: int, target: float | None) -> Benchmark:
    figure = Figure("seconds", "the whole tree", "s", {} if target is None else {SQLITE: at_most(target)})
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
        (
            Figure("rate", "children", "/s", {SQLITE: at_least(8_000)}),
            Figure("memory", "peak memory of the process", "MB"),
        ),
        20_000,
        1_000,
    ),
    Benchmark(
        "sequential",
        "one after another: {size} children, each awaited",
        "sequence",
        (
            Figure("p50", "one child (two commits), median", "ms", {SQLITE: at_most(1), POSTGRES: at_most(1.5)}),
            Figure("p99", "one child, 99th percentile", "ms"),
            Figure("fsync", "4 KiB + fsync, the same minute", "ms", stores=(SQLITE,)),
            Figure("commit", "bare insert, the same minute", "ms", stores=(POSTGRES,)),
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
        (
            Figure("rate", "runs stored", "/s", {POSTGRES: at_least(50_000)}),
            Figure("memory", "peak memory of the process", "MB"),
        ),
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
        "sleep",
        "sleep: {size} sleeps of 10 ms in a running task, one after another",
        "naps",
        (
            Figure("p50", "late by, median", "ms", on_both(at_most(3))),
            Figure("p99", "late by, 99th percentile", "ms", on_both(at_most(20))),
        ),
        300,
        30,
    ),
    Benchmark(
        "step",
        "recorded steps: {size}, one after another; then as many at once",
        "steps",
        (
            Figure("p50", "one step, median", "ms"),
            Figure("p99", "one step, 99th percentile", "ms"),
            Figure("commit", "commit of one row, the same minute", "ms"),
            Figure("ratio", "a step, in such commits", "x", on_both(at_most(1.5))),
            Figure("rate", "at once: steps", "/s", on_both(at_least(10_000))),
        ),
        1_000,
        100,
    ),
    Benchmark(
        "push",
        "events: pushed to a run that waits, {size} others waiting for the same key",
        "pushes",
        (
            Figure("p50", "push to waiter, median", "ms", on_both(at_most(3))),
            Figure("p99", "push to waiter, 99th percentile", "ms"),
            Figure("across_p50", "to another process, median", "ms", on_both(at_most(10))),
            Figure("across_p99", "to another process, 99th p.", "ms"),
            Figure("rate", "pushes that each end a wait", "/s", on_both(at_least(2_000))),
        ),
        100_000,
        1_000,
    ),
    Benchmark(
        "suspended",
        "suspended: {size} durable runs that sleep; then all are due at once",
        "suspended",
        (
            Figure("memory", "of their worker, beyond empty", "MB", on_both(at_most(30))),
            Figure("rate", "due to ended, runs", "/s", {SQLITE: at_least(5_000), POSTGRES: at_least(3_000)}),
        ),
        100_000,
        1_000,
    ),
    Benchmark(
        "agent",
        "agent: {size} recorded steps, its worker killed; another goes on",
        "assistant",
        (
            Figure("seconds", "to where it was", "s", on_both(at_most(0.5))),
            Figure("memory", "peak memory of the process", "MB", on_both(at_most(150))),
        ),
        10_000,
        500,
    ),
    Benchmark(
        "map",
        "map: {size} children, folded into a sum as they come",
        "stream",
        (
            Figure("rate", "children", "/s", {SQLITE: at_least(15_000), POSTGRES: at_least(10_000)}),
            Figure("memory", "peak memory of the process", "MB", on_both(at_most(300))),
        ),
        100_000,
        500,
    ),
    Benchmark(
        "million",
        "map: a tenth of {size} children in a worker process, then {size}, folded into a sum",
        "million",
        (
            Figure("rate", "children", "/s", {SQLITE: at_least(15_000), POSTGRES: at_least(10_000)}),
            Figure("memory", "peak memory of the worker", "MB", on_both(at_most(300))),
            Figure("growth", "of that, beyond the tenth", "MB", on_both(at_most(20))),
        ),
        1_000_000,
        2_000,
        once=True,
    ),
    Benchmark(
        "million-resume",
        "map: its worker killed with half of {size} children done; another goes on",
        "million_resume",
        (
            Figure("seconds", "until new children run", "s", on_both(at_most(10))),
            Figure("memory", "peak memory of the second worker", "MB", on_both(at_most(300))),
        ),
        1_000_000,
        20_000,
        once=True,
    ),
    Benchmark(
        "million-many",
        "run_many: {size} children, given by a generator; all results in a list",
        "fan_out_lazy",
        (
            Figure("rate", "children", "/s"),
            Figure("memory", "peak memory of the process", "MB", on_both(at_most(450))),
        ),
        1_000_000,
        2_000,
        once=True,
    ),
    Benchmark(
        "as-completed",
        "as completed: {size} references as their runs end, and as many by run_many",
        "as_completed",
        (
            Figure("rate", "children", "/s"),
            Figure("ratio", "time, in run_manys", "x", on_both(at_most(1.3))),
        ),
        10_000,
        200,
    ),
    Benchmark("group", "a group of {size} children", "group", (Figure("rate", "children", "/s"),), 10_000, 200),
    Benchmark(
        "race",
        "races of ten children, {size} of them, one after another",
        "race",
        (Figure("p50", "a race, median", "ms"), Figure("p99", "a race, 99th percentile", "ms")),
        100,
        5,
    ),
    Benchmark(
        "spend",
        "spend: {size} spends of one run's budget, one after another; then as many at once",
        "spend",
        (
            Figure("p50", "one spend, median", "ms"),
            Figure("p99", "one spend, 99th percentile", "ms"),
            Figure("rate", "at once: spends", "/s"),
        ),
        500,
        30,
    ),
    Benchmark(
        "reserve",
        "reserve: {size} reservations, of each a half is spent, one after another",
        "reserve",
        (Figure("p50", "one (three commits), median", "ms"), Figure("p99", "one, 99th percentile", "ms")),
        300,
        20,
    ),
    Benchmark(
        "share",
        'share="tree": {size} callers of one run, and as many with a child each',
        "share",
        (Figure("rate", "callers", "/s"), Figure("ratio", "time, in those with a child each", "x")),
        1_000,
        100,
    ),
    Benchmark(
        "hedge",
        "hedge: {size} children that hang, one after another; each has a second run after 50 ms",
        "hedge",
        (Figure("p50", "late by, median", "ms"), Figure("p99", "late by, 99th percentile", "ms")),
        100,
        5,
    ),
    Benchmark(
        "pause",
        "pause: a tree of {size} children that is under way; then it goes on",
        "pause",
        (
            Figure("pause", "the call", "ms"),
            Figure("again", "resumed, until a child runs", "ms"),
            Figure("rate", "resumed, to the end: children", "/s"),
        ),
        100_000,
        2_000,
    ),
    Benchmark(
        "fork",
        "fork: a tree of {size} children that has ended; all of them are copied",
        "fork",
        (Figure("fork", "the call", "ms"), Figure("rate", "to the end: children copied", "/s")),
        100_000,
        2_000,
    ),
    Benchmark(
        "fairness",
        "a tree of ten beside one with {size} queued, and alone",
        "fairness",
        (
            Figure("idle", "alone, median", "ms"),
            Figure("beside", "beside the large one, median", "ms"),
            Figure("ratio", "the second, in firsts", "x", on_both(at_most(3))),
        ),
        1_000_000,
        300,
    ),
    Benchmark(
        "workers",
        "workers: {size} async children of one parent, over 4 worker processes, slots={slots}",
        "workers",
        (
            Figure("rate", "children, in sum", "/s", {POSTGRES: at_least(12_000)}),
            Figure("share_1", "share of the busiest worker", "%"),
            Figure("share_2", "share of the second", "%"),
            Figure("share_3", "share of the third", "%"),
            Figure("share_4", "share of the fourth", "%"),
        ),
        100_000,
        2_000,
    ),
    Benchmark(
        "claim",
        "claim: 100 of {size} queued runs, and 100 of 1,000, by turns (store alone)",
        "claim",
        (
            Figure("few", "a claim, 1,000 queued, median", "ms"),
            Figure("many", "a claim, all queued, median", "ms"),
            Figure("ratio", "the second, in firsts", "x", {POSTGRES: at_most(1.5)}),
        ),
        1_000_000,
        20_000,
    ),
    Benchmark(
        "wakeup",
        "wake-up: {size} children that end on another worker than their parent's; as many roots",
        "wakeup",
        (
            Figure("p50", "child's end to parent, median", "ms", {POSTGRES: at_most(10)}),
            Figure("p99", "child's end to parent, 99th p.", "ms", {POSTGRES: at_most(50)}),
            Figure("root_p50", "root to idle worker, median", "ms", {POSTGRES: at_most(10)}),
            Figure("root_p99", "root to idle worker, 99th p.", "ms"),
        ),
        300,
        30,
    ),
    Benchmark(
        "cold",
        "cold start: python examples/fanout.py, {size} children, new database",
        "cold",
        (Figure("seconds", "wall time of the process", "s", {SQLITE: at_most(0.6)}),),
        100,
        100,
        stores=(SQLITE,),
    ),
    Benchmark(
        "import",
        "import fanwood",
        "import",
        (Figure("ms", "beyond what a bare python takes", "ms", {SQLITE: at_most(150)}),),
        1,
        1,
        stores=(SQLITE,),
    ),
)


def names(stores: Iterable[str] = STORES) -> list[str]:
    return [b.name for b in BENCHMARKS if any(store in b.stores for store in stores)]


def chosen(only: Iterable[str], stores: Iterable[str]) -> list[Benchmark]:
    """Those whose names begin with one of `only` (all, if it names none), for each of the stores in turn.

    Raises:
        ValueError: nothing begins so.
    """
    wanted, stores = list(only), list(stores)
    there = names(stores)
    for start in wanted:
        if not any(name.startswith(start) for name in there):
            raise ValueError(f"no benchmark's name begins with {start!r}; there are: {', '.join(there)}")
    return [
        _for_store(b, store)
        for store in stores
        for b in BENCHMARKS
        if store in b.stores and (not wanted or any(b.name.startswith(start) for start in wanted))
    ]


def _for_store(benchmark: Benchmark, store: str) -> Benchmark:
    figures = tuple(figure for figure in benchmark.figures if store in figure.stores)
    return replace(benchmark, figures=figures, store=store)


def sized(benchmark: Benchmark, *, quick: bool, size: int | None) -> Benchmark:
    """`benchmark` with the size that it is to have; `size` bounds all of them."""
    most = benchmark.quick if quick else benchmark.size
    if size is not None:
        most = min(most, size)
    if benchmark.workload.startswith("tree"):
        most = 2 ** ((most + 1).bit_length() - 1) - 1  # full trees only
    return replace(benchmark, size=most)
