"""What a soak sees of its database, whichever it is: figures by their names (`soak_figures.py` says what they are)."""

from collections.abc import Iterable, Sequence
from typing import Protocol

Figures = dict[str, float]
Row = tuple[bytes, int, int | None, int | None]  # id, created_at, started_at, finished_at

SAMPLED_TREES = 100
"""The children of so many trees are looked at each time."""

UNFINISHED = """
    select (select count(*) from run where state = 1 and worker_id > 0 and depth = 0)
         + (select count(*) from run where task = {tree} and state = 0)
"""


class Watcher(Protocol):
    """Looks at a database by a connection of its own, which nobody else should notice."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def unfinished(self) -> int:
        """How many trees have not ended."""
        ...

    async def look(self) -> Figures:
        """The state of the database, and what became of the trees since the last look."""
        ...


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def percentiles(name: str, milliseconds: Sequence[float]) -> Figures:
    if not milliseconds:
        return {}
    return {f"{name}_p50": percentile(milliseconds, 0.5), f"{name}_p99": percentile(milliseconds, 0.99)}


def waits(name: str, rows: Iterable[Row], now: int) -> Figures:
    """How long runs were in the queue; those that are there still, so far."""
    return percentiles(name, [((row[2] or now) - row[1]) / 1e3 for row in rows])


def some_of(rows: Sequence[Row]) -> list[bytes]:
    """The ids of a few, evenly chosen."""
    return [row[0] for row in rows[:: max(1, len(rows) // SAMPLED_TREES)]]
