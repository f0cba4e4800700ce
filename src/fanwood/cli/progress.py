"""A tree that grows, as it is shown: on a terminal a live picture, in a pipe a line now and then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fanwood.cli import output, text
from fanwood.cli.engines import judged
from fanwood.clock import MICROSECONDS
from fanwood.errors import RunNotFoundError
from fanwood.lens.book import Lenses
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from fanwood.app import Fanwood
    from fanwood.cli.waiting import Waiting
    from fanwood.model.records import TaskCount
    from fanwood.store.store import Store

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
WINDOW = 5.0
"""Seconds over which a rate is taken, so that it doesn't flicker."""
BAR = 24
"""Columns of the bar."""
REST = 52
"""Columns of what stands beside it; where there are less, it is shorter."""


@dataclass(frozen=True, slots=True)
class TaskLine:
    """How far the runs of one task are."""

    task: str
    done: int
    running: int
    queued: int
    failed: int
    rate: float
    waiting: int = 0  # for a time that is to come


@dataclass(frozen=True, slots=True)
class Crew:
    """Who works: live workers and their slots, the runs that they have begun, and queued tasks that nobody serves."""

    workers: int = 0
    slots: int = 0
    begun: int = 0
    unserved: tuple[str, ...] = ()


class Rates:
    """How many runs of each task end in a second, of late; and of all, of late and since the beginning: when so many
    had ended."""

    def __init__(self, at: float = 0.0, ended: dict[str, int] | None = None) -> None:
        self._seen: deque[tuple[float, dict[str, int]]] = deque([(at, ended or {})])

    @property
    def known(self) -> bool:
        """Whether any time has passed."""
        return self._seen[-1][0] > self._seen[0][0]

    def note(self, at: float, ended: dict[str, int]) -> None:
        """So many had ended after so many seconds."""
        self._seen.append((at, ended))
        while len(self._seen) > 2 and self._seen[1][0] <= at - WINDOW:
            self._seen.popleft()

    def of(self, task: str) -> float:
        (began, before), (at, now) = self._seen[0], self._seen[-1]
        return max(0, now.get(task, 0) - before.get(task, 0)) / (at - began) if at > began else 0.0

    def range(self) -> tuple[float, float]:
        """Of all: the lower and the higher of the two."""
        at, now = self._seen[-1]
        lately = sum(self.of(task) for task in now)
        whole = sum(now.values()) / at if at > 0 else 0.0
        return min(lately, whole), max(lately, whole)


@dataclass(slots=True)
class Sight:
    """What is to be seen."""

    lines: Sequence[TaskLine]
    elapsed: float
    crew: Crew = field(default_factory=Crew)
    rates: tuple[float, float] = (0.0, 0.0)
    over: bool = False


def task_lines(counts: Sequence[TaskCount], rate: Callable[[str], float]) -> list[TaskLine]:
    """One line per task, the one that came first at the top."""
    tasks: dict[str, dict[RunState, int]] = {}
    first: dict[str, int] = {}
    for count in counts:
        tasks.setdefault(count.task, {})[count.state] = count.count
        first[count.task] = min(first.get(count.task, count.first or 0), count.first or 0)
    lines: list[TaskLine] = []
    for task in sorted(tasks, key=lambda task: (first[task], task)):
        states = tasks[task]
        lines.append(
            TaskLine(
                task,
                done=states.get(RunState.COMPLETED, 0),
                running=states.get(RunState.RUNNING, 0),
                queued=states.get(RunState.QUEUED, 0),
                failed=states.get(RunState.FAILED, 0) + states.get(RunState.CANCELLED, 0),
                rate=rate(task),
                waiting=states.get(RunState.WAITING, 0),
            )
        )
    return lines


def time_left(left: int, rates: tuple[float, float]) -> str:
    """How long so many runs take, as a range: `3 s to 6 s left`; nothing while there is no telling."""
    low, high = rates
    if not left or low <= 0:
        return ""
    soonest, latest = (text.age(round(left / rate * MICROSECONDS)) for rate in (high, low))
    return f"{soonest} left" if soonest == latest else f"{soonest} to {latest} left"


class Progress:
    """Shows how a tree grows; a context manager. `name` shortens the tasks' names."""

    def __init__(self, *, quiet: bool = False, name: Callable[[str], str] = str) -> None:
        self._quiet = quiet
        self._name = name
        self._live: Live | None = None
        self._last_line = 0.0
        self._has_waited = False  # something has: its column stays
        self._marks = output.marks()  # before stdout is the live picture's

    def __enter__(self) -> Self:
        if output.on_terminal() and not self._quiet:
            from rich.live import Live

            console = output.console()
            self._live = Live(console=console, auto_refresh=False)
            self._live.start()
            output.notes_go_to(console)  # above the picture
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            output.notes_go_to(None)
            self._live.stop()

    def show(self, sight: Sight) -> None:
        """How it stands."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(self.picture(sight), refresh=True)
        elif not sight.over and sight.elapsed - self._last_line >= PIPE_EVERY:
            self._last_line = sight.elapsed
            output.note(f"{sight.elapsed:.0f} s: {'; '.join(self._words(line) for line in sight.lines)}")

    def _words(self, line: TaskLine) -> str:
        name = text.clean(self._name(line.task))
        waiting = f"{line.waiting:,} waiting, " if line.waiting else ""
        return (
            f"{name} {line.done:,} done, {line.running:,} running, {line.queued:,} queued, {waiting}"
            f"{line.failed:,} failed, {line.rate:,.0f}/s"
        )

    # --- for a terminal --------------------------------------------------------------------------------------------

    def picture(self, sight: Sight) -> Group:
        """What a terminal gets: how far it is, a line for each task, and who works."""
        from rich.console import Group

        crew = [] if sight.over else [self._crew(sight.crew)]
        return Group(self._bar(sight), self._table(sight.lines), *crew)

    def _bar(self, sight: Sight) -> Text:
        ended = sum(line.done + line.failed for line in sight.lines)
        total = ended + sum(line.running + line.queued + line.waiting for line in sight.lines)
        left = time_left(total - ended, sight.rates)
        return (
            output.rich_text((f"{sight.elapsed:7.1f} s  ", "dim"))
            .append_text(bar(ended, total, max(0, min(BAR, output.width() - REST)), self._marks))
            .append_text(
                output.rich_text(
                    f"  {100 * ended // total if total else 0:3} %  {ended:,} of {total:,}",
                    (f"  {left}" if left else "", "dim"),
                )
            )
        )

    def _table(self, lines: Sequence[TaskLine]) -> Table:
        self._has_waited = self._has_waited or any(line.waiting for line in lines)
        return task_table(lines, self._name, waiting=self._has_waited)

    def _crew(self, crew: Crew) -> Text:
        if crew.unserved:
            names = ", ".join(text.clean(self._name(task), 40) for task in crew.unserved[:3])
            return output.rich_text((f"no worker serves {names}", "bold red"))
        who = f"{text.many(crew.workers, 'worker')}, {text.many(crew.slots, 'slot')}"
        return output.rich_text((f"{who}, {text.many(crew.begun, 'run')} begun", "dim"))


def bar(ended: int, total: int, columns: int, marks: output.Marks) -> Text:
    """How much of it has ended."""
    full = columns * ended // total if total else 0
    return output.rich_text((marks.full * full, "green"), (marks.empty * (columns - full), "dim"))


def task_table(lines: Sequence[TaskLine], name: Callable[[str], str] = str, *, waiting: bool | None = None) -> Table:
    """A line for each task. `waiting`: whether there is a column of those that wait; None: if any does."""
    table = output.plain_table()
    table.add_column("", min_width=10, no_wrap=True, overflow="ellipsis")
    waiting = any(line.waiting for line in lines) if waiting is None else waiting
    names = ("done", "running", "queued", *(("waiting",) if waiting else ()), "failed", "rate")
    for each in names:
        table.add_column(each, justify="right", min_width=8, no_wrap=True)
    for line in lines:
        cells = {
            "done": (f"{line.done:,}", "green"),
            "running": (f"{line.running:,}", "cyan" if line.running else "dim"),
            "queued": (f"{line.queued:,}", output.STYLES[RunState.QUEUED] if line.queued else "dim"),
            "waiting": (f"{line.waiting:,}", output.STYLES[RunState.WAITING] if line.waiting else "dim"),
            "failed": (f"{line.failed:,}", "bold red" if line.failed else "dim"),
            "rate": f"{line.rate:,.0f}/s",
        }
        task = output.rich_text((text.clean(name(line.task), 40), "bold"))
        table.add_row(task, *(output.rich_text(cells[each]) for each in names))
    return table


# --- following -------------------------------------------------------------------------------------------------------


def follow(app: Fanwood, run_id: bytes, waiting: Waiting, progress: Progress, *, timeout: float | None = None) -> bool:
    """Show the tree below a run until it has ended; False if it had not within `timeout` seconds.

    Looking at a big tree takes a while, so the bigger it is, the rarer the looks.
    """
    engine, clock, rates, lenses = app.engine(), app.clock, Rates(), Lenses(app.clock)
    start = clock.monotonic()
    ended = False
    while not ended:
        looked = clock.monotonic()
        counts, crew = engine.call(lambda store: _look(store, run_id, lenses)).result()
        now = clock.monotonic()
        rates.note(now - start, ended_of(counts))
        sight = Sight(task_lines(counts, rates.of), now - start, crew, rates.range())
        until = now + max(FASTEST, SHARE * min(now - looked, PER_RUN * sum(count.count for count in counts)))
        while not ended and now < until:
            sight.elapsed = now - start
            progress.show(sight)
            left = until - now if timeout is None else min(until, start + timeout) - now
            if left <= 0:
                return False
            ended = waiting.wait(min(TICK, left))
            now = clock.monotonic()
    counts, _ = engine.call(lambda store: _look(store, run_id)).result()
    span, whole = _span(counts), ended_of(counts)
    lines = task_lines(counts, lambda task: whole.get(task, 0) / span if span else 0.0)
    progress.show(Sight(lines, clock.monotonic() - start, over=True))
    return True


async def _look(store: Store, run_id: bytes, lenses: Lenses | None = None) -> tuple[list[TaskCount], Crew]:
    """With a lens it is cheap; without one it says when the first and the last was."""
    try:
        counts = await store.tree_counts(run_id) if lenses is None else (await lenses.warm(store, run_id)).counts()
    except RunNotFoundError:  # deleted meanwhile
        counts = []
    live = [worker for worker in await store.workers() if worker.slots and judged(worker, store.now()).live]
    queued = sorted({count.task for count in counts if count.state is RunState.QUEUED})
    unserved = tuple([task for task in queued if not await store.served(0, task)])
    slots, begun = sum(worker.slots for worker in live), sum(worker.running for worker in live)
    return counts, Crew(len(live), slots, begun, unserved)


def ended_of(counts: Sequence[TaskCount]) -> dict[str, int]:
    """How many of each task have."""
    found: dict[str, int] = {}
    for count in counts:
        if count.state.is_terminal:
            found[count.task] = found.get(count.task, 0) + count.count
    return found


def _span(counts: Sequence[TaskCount]) -> float:
    """Seconds from the first run's birth to the last one's end."""
    firsts = [count.first for count in counts if count.first is not None]
    lasts = [count.last for count in counts if count.last is not None]
    return (max(lasts) - min(firsts)) / MICROSECONDS if firsts and lasts else 0.0
