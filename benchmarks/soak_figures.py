"""What a soak looks at, and whether it grows: by the slope of a line through all its samples."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

FLAT, GROWS, FALLS = "FLAT", "GROWS", "FALLS"
SURE = 2.0
"""How many times its own standard error a slope must be, to be one."""


@dataclass(frozen=True)
class Figure:
    """One thing that is looked at. It grows when the line rises by more than a part of its level, and by more than
    what is worth mentioning."""

    key: str
    label: str
    unit: str = ""
    tolerance: float | None = None  # a part of the level; None: it is shown, and not judged
    least: float = 0.0
    falls: bool = False  # the bad direction is down


FIGURES = (
    Figure("rate", "trees started", "/s"),
    Figure("trees", "trees done", "/s", 0.1, 5, falls=True),
    Figure("runs", "runs done", "/s", 0.1, 100, falls=True),
    Figure("unfinished", "trees unfinished", "", 0.5, 100),
    Figure("tree_p50", "a tree, as its caller sees it: median", "ms", 0.5, 20),
    Figure("tree_p99", "a tree: 99th percentile", "ms", 0.5, 100),
    Figure("root_p50", "a root in the queue: median", "ms", 0.5, 10),
    Figure("root_p99", "a root in the queue: 99th percentile", "ms", 0.5, 50),
    Figure("child_p50", "a child in the queue: median", "ms", 0.5, 10),
    Figure("child_p99", "a child in the queue: 99th percentile", "ms", 0.5, 50),
    Figure("walk_pages", "pages read to find the next run", "", 0.5, 100),
    Figure("walk_ms", "time to find the next run", "ms", 0.5, 1),
    Figure("oldest", "age of the oldest tree", "s", 0.3, 5),
    Figure("live", "rows in run", "", 0.2, 10_000),
    Figure("inserts", "rows entered", "/s"),
    Figure("deletes", "rows deleted", "/s"),
    Figure("hot", "updates that touch no index", "%"),
    Figure("mail", "rows in mail", "", 0.5, 200),
    Figure("watch", "rows in watch", "", 0.5, 200),
    Figure("all", "all tables and indexes", "MB", 0.15, 10),
    Figure("file", "the file", "MB", 0.15, 10),
    Figure("free", "of it free", "%"),
    Figure("log", "the write-ahead log", "MB", 0.3, 10),
    Figure("wal", "write-ahead log written", "MB/s"),
    Figure("worker_memory", "memory of the largest worker", "MB", 0.1, 5),
    Figure("client_memory", "memory of the client (this process)", "MB", 0.1, 5),
    Figure("backend_memory", "memory of the largest session of the server", "MB", 0.1, 5),
    Figure("worker_cpu", "processor time of the workers, for 1,000 runs", "ms", 0.3, 10),
    Figure("backend_cpu", "processor time of the sessions, for 1,000 runs", "ms", 0.3, 10),
    Figure("connections", "connections", "", 0.0, 0.5),
    Figure("transaction", "age of the oldest transaction", "s", 0.5, 5),
    Figure("load", "load of the machine"),
)
RELATIONS = {
    "table": Figure("table", "table {}", "MB", 0.15, 5),
    "index": Figure("index", "index {}", "MB", 0.15, 5),
    "dead": Figure("dead", "dead rows in {}", "", 0.5, 20_000),
    "vacuums": Figure("vacuums", "vacuums of {} so far"),
    "vacuumed": Figure("vacuumed", "since the last vacuum of {}", "s"),
}


def figure_of(key: str) -> Figure:
    kind, _, name = key.partition(":")
    if name:
        found = RELATIONS[kind]
        return Figure(key, found.label.format(name), found.unit, found.tolerance, found.least)
    return next(figure for figure in FIGURES if figure.key == key)


def in_order(keys: set[str]) -> list[str]:
    known = [figure.key for figure in FIGURES if figure.key in keys]
    return known + sorted(keys - set(known))


@dataclass(frozen=True)
class Verdict:
    figure: Figure
    first: float  # the median of the first third ...
    last: float  # ... and of the last
    change: float  # of the line, from the first sample to the last
    judgement: str  # empty: not judged

    @property
    def ratio(self) -> float | None:
        return self.last / self.first if self.first else None

    @property
    def bad(self) -> bool:
        return self.judgement in {GROWS, FALLS}


def judge(figure: Figure, times: Sequence[float], values: Sequence[float]) -> Verdict:
    """At least three samples, at increasing times."""
    third = len(values) // 3
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    slope, error = line(times, values)
    span = times[-1] - times[0]
    change = slope * span
    judgement = ""
    if figure.tolerance is not None:
        worse = -change if figure.falls else change
        allowed = max(figure.tolerance * abs(first), figure.least)
        sure = worse > SURE * error * span
        judgement = (FALLS if figure.falls else GROWS) if worse > allowed and sure else FLAT
    return Verdict(figure, first, last, change, judgement)


def line(times: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """The slope of the line by least squares, and its standard error."""
    middle, level = statistics.fmean(times), statistics.fmean(values)
    spread = sum((time - middle) ** 2 for time in times)
    slope = sum((time - middle) * (value - level) for time, value in zip(times, values, strict=True)) / spread
    rest = sum((value - level - slope * (time - middle)) ** 2 for time, value in zip(times, values, strict=True))
    return slope, (rest / max(1, len(values) - 2) / spread) ** 0.5
