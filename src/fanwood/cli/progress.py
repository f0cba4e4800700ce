"""A tree that grows, as it is shown: on a terminal a live table, in a pipe a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fanwood.cli import output, text
from fanwood.clock import MICROSECONDS
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from fanwood.app import Fanwood
    from fanwood.cli.waiting import Waiting
    from fanwood.model.records import TaskCount

FASTEST = 0.15
"""Seconds between two looks at a small tree."""
SHARE = 12
"""A look may take one part in so many of the time."""
PER_RUN = 0.000006
"""Seconds that a look takes at most for each run of the tree, when nobody else needs the processor."""
TICK = 0.25
"""Seconds between two pictures, whether or not there was a new look."""
PIPE_EVERY = 5.0
"""Seconds between two lines in a pipe."""


@dataclass(frozen=True, slots=True)
class TaskLine:
    """How far the runs of one task are."""

    task: str
    done: int
    in_flight: int
    failed: int
    rate: float
    waiting: int = 0  # for a time that is to come


def task_lines(counts: Sequence[TaskCount], before: dict[str, int], seconds: float) -> list[TaskLine]:
    """One line per task, the one that came first at the top; `before`: how many had ended `seconds` ago."""
    tasks: dict[str, dict[RunState, int]] = {}
    first: dict[str, int] = {}
    for count in counts:
        tasks.setdefault(count.task, {})[count.state] = count.count
        first[count.task] = min(first.get(count.task, count.first or 0), count.first or 0)
    lines: list[TaskLine] = []
    for task in sorted(tasks, key=lambda task: (first[task], task)):
        states = tasks[task]
        done = states.get(RunState.COMPLETED, 0)
        failed = states.get(RunState.FAILED, 0) + states.get(RunState.CANCELLED, 0)
        rate = max(0, done + failed - before.get(task, 0)) / seconds if seconds > 0 else 0.0
        waiting = states.get(RunState.WAITING, 0)
        lines.append(TaskLine(task, done, sum(states.values()) - done - failed - waiting, failed, rate, waiting))
    return lines


class Progress:
    """Shows `lines`; a context manager. `name` shortens the tasks' names."""

    def __init__(self, *, quiet: bool = False, name: Callable[[str], str] = str) -> None:
        self._quiet = quiet
        self._name = name
        self._live: Live | None = None
        self._last_line = 0.0
        self._has_waited = False  # something has: its column stays

    def __enter__(self) -> Self:
        if output.on_terminal() and not self._quiet:
            from rich.live import Live

            self._live = Live(console=output.console(), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, lines: Sequence[TaskLine], elapsed: float, *, last: bool = False) -> None:
        """How it stands after `elapsed` seconds."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(self.table(lines, elapsed), refresh=True)
        elif not last and elapsed - self._last_line >= PIPE_EVERY:
            self._last_line = elapsed
            output.note(f"{elapsed:.0f} s: {'; '.join(self._words(line) for line in lines)}")

    def _words(self, line: TaskLine) -> str:
        name = text.clean(self._name(line.task))
        waiting = f"{line.waiting:,} waiting, " if line.waiting else ""
        return (
            f"{name} {line.done:,} done, {line.in_flight:,} in flight, {waiting}{line.failed:,} failed, "
            f"{line.rate:,.0f}/s"
        )

    def table(self, lines: Sequence[TaskLine], elapsed: float) -> Table:
        """What a terminal gets."""
        from rich.table import Table

        table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column(f"{elapsed:.1f} s", min_width=10)
        self._has_waited = self._has_waited or any(line.waiting for line in lines)
        names = ("done", "in flight", *(("waiting",) if self._has_waited else ()), "failed", "rate")
        for name in names:
            table.add_column(name, justify="right", min_width=9)
        for line in lines:
            cells = {
                "done": (f"{line.done:,}", "green"),
                "in flight": (f"{line.in_flight:,}", "cyan" if line.in_flight else "dim"),
                "waiting": (f"{line.waiting:,}", output.STYLES[RunState.WAITING] if line.waiting else "dim"),
                "failed": (f"{line.failed:,}", "bold red" if line.failed else "dim"),
                "rate": f"{line.rate:,.0f}/s",
            }
            task = output.rich_text((text.clean(self._name(line.task), 40), "bold"))
            table.add_row(task, *(output.rich_text(cells[name]) for name in names))
        return table


def follow(app: Fanwood, run_id: bytes, waiting: Waiting, progress: Progress, *, timeout: float | None = None) -> bool:
    """Show the tree below a run until it has ended; False if it had not within `timeout` seconds.

    Looking at a big tree takes a while, so the bigger it is, the rarer the looks.
    """
    engine, clock = app.engine(), app.clock
    start = last = clock.monotonic()
    before: dict[str, int] = {}
    ended = False
    while not ended:
        looked = clock.monotonic()
        counts = engine.call(lambda store: store.tree_counts(run_id)).result()
        now = clock.monotonic()
        lines = task_lines(counts, before, now - last if before else now - start)
        before, last = {line.task: line.done + line.failed for line in lines}, now
        until = now + max(FASTEST, SHARE * min(now - looked, PER_RUN * sum(count.count for count in counts)))
        while not ended and now < until:
            progress.show(lines, now - start)
            left = until - now if timeout is None else min(until, start + timeout) - now
            if left <= 0:
                return False
            ended = waiting.wait(min(TICK, left))
            now = clock.monotonic()
    counts = engine.call(lambda store: store.tree_counts(run_id)).result()
    progress.show(task_lines(counts, {}, _span(counts)), clock.monotonic() - start, last=True)
    return True


def _span(counts: Sequence[TaskCount]) -> float:
    """Seconds from the first run's birth to the last one's end."""
    firsts = [count.first for count in counts if count.first is not None]
    lasts = [count.last for count in counts if count.last is not None]
    return (max(lasts) - min(firsts)) / MICROSECONDS if firsts and lasts else 0.0
