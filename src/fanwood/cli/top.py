"""`fanwood top`: what is under way, and who works on it, looked at now and then.

It asks for what has not ended only: the newest unfinished roots, what is below these, and who works. So it costs the
same whatever the history; and the larger the trees are, the rarer are the looks.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common
from fanwood.cli.engines import Engine, judged
from fanwood.cli.output import Column
from fanwood.cli.progress import PER_RUN, SHARE, Rates, bar, ended_of, task_lines, task_table, time_left
from fanwood.clock import MICROSECONDS, SystemClock
from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text, short_text
from fanwood.lens.book import Lenses
from fanwood.model.records import RunFilter
from fanwood.model.states import RunState
from fanwood.sdk.listing import collect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from fanwood.cli.progress import TaskLine
    from fanwood.model.records import RunRecord, TaskCount
    from fanwood.store.store import Store

EVERY = 1.0
"""Seconds between two looks, at least."""
PATIENCE = 0.5
"""Seconds for a tree that was not read to its end yet."""
ROOTS = 20
"""The newest unfinished roots that are looked below."""
WIDE = 110
"""Terminals of fewer columns have a shorter bar."""
BESIDE = 10
"""Lines of a picture that are none of roots, tasks or workers."""
UNDER_WAY = (RunState.RUNNING, RunState.WAITING, RunState.QUEUED)


@dataclass(frozen=True, slots=True)
class Root:
    """One that has not ended, and what is below it."""

    run: RunRecord
    counts: Sequence[TaskCount]
    range: tuple[float, float] = (0.0, 0.0)  # how many of its runs end in a second

    @property
    def ended(self) -> int:
        return sum(count.count for count in self.counts if count.state.is_terminal)

    @property
    def total(self) -> int:
        return sum(count.count for count in self.counts)

    @property
    def failed(self) -> int:
        return sum(count.count for count in self.counts if count.state in (RunState.FAILED, RunState.CANCELLED))


@dataclass(frozen=True, slots=True)
class View:
    """What there is to be seen."""

    now: int
    roots: list[Root]
    more: bool  # roots
    engines: list[Engine]
    unserved: list[str]
    lines: Sequence[TaskLine] = ()


def top(once: bool, common: Common) -> None:
    if not once and not common.as_json and output.on_terminal():
        _watch(common)
        return
    view = looking.look(common, lambda store: _look(store, common, Lenses(SystemClock()), inf))
    if common.as_json:
        output.print_json(_json(view))
    elif output.on_terminal():
        console = output.console()
        console.print(picture(Seen().add(0.0, view), console.width, 1000, output.marks()))
    else:
        _print_plain(Seen().add(0.0, view))


def _watch(common: Common) -> None:
    from rich.live import Live

    marks, console, seen, clock = output.marks(), output.console(), Seen(), SystemClock()
    lenses = Lenses(clock)

    async def go_on(store: Store) -> None:
        while True:
            began = clock.monotonic()
            view = seen.add(began, await _look(store, common, lenses, PATIENCE))
            live.update(picture(view, console.width, console.height, marks), refresh=True)
            looked = min(clock.monotonic() - began, PER_RUN * sum(root.total for root in view.roots))
            await asyncio.sleep(max(EVERY, SHARE * looked))

    with Live(console=console, screen=True, auto_refresh=False) as live, contextlib.suppress(KeyboardInterrupt):
        looking.look(common, go_on)


async def _look(store: Store, common: Common, lenses: Lenses, patience: float) -> View:
    """`patience`: seconds in which a tree is to be read; the rest of it comes with the next look."""
    namespace, runs = common.settings().namespace, list["RunRecord"]()
    for state in UNDER_WAY:
        prefix, limit = f"{namespace}/" if namespace else None, ROOTS + 1 - len(runs)
        if limit:
            runs += (await collect(store.listing, RunFilter(prefix=prefix, state=state, limit=limit))).runs
    roots: list[Root] = []
    for run in runs[:ROOTS]:
        with contextlib.suppress(RunNotFoundError):  # it was deleted meanwhile
            roots.append(Root(run, (await lenses.warm(store, run.id, patience)).counts()))
    now = store.now()
    engines = [judged(worker, now) for worker in await store.workers() if worker.slots]
    queued = sorted({c.task for root in roots for c in root.counts if c.state is RunState.QUEUED})
    # (Scripts that serve only themselves count for the second, which takes as long as there are such runs.)
    served = all([await store.served(0, task) for task in queued])
    unserved = [] if served else [each.task for each in await store.unserved()]
    return View(now, roots, len(runs) > ROOTS, engines, unserved)


class Seen:
    """From looks to rates: of late, or (of what was seen once) since it was started."""

    def __init__(self) -> None:
        self._rates: dict[bytes, Rates] = {}

    def add(self, at: float, view: View) -> View:
        """The view with its rates. `at`: seconds."""
        roots: list[Root] = []
        shared: dict[str, float] = {}
        for root in view.roots:
            ended, age = ended_of(root.counts), max(1e-6, (view.now - root.run.created_at) / MICROSECONDS)
            rates = self._rates.get(root.run.id) or self._rates.setdefault(root.run.id, Rates(at, ended))
            rates.note(at, ended)
            whole = root.ended / age
            lately = sum(rates.of(task) for task in ended) if rates.known else whole
            roots.append(replace(root, range=(min(lately, whole), max(lately, whole))))
            for task, count in ended.items():
                shared[task] = shared.get(task, 0.0) + (rates.of(task) if rates.known else count / age)
        present = {root.run.id for root in roots}
        self._rates = {id_: rates for id_, rates in self._rates.items() if id_ in present}
        lines = task_lines(_together(roots), lambda task: shared.get(task, 0.0))
        return replace(view, roots=roots, lines=lines)


def _together(roots: Sequence[Root]) -> list[TaskCount]:
    """The counts of all, as if of one tree."""
    found: dict[tuple[str, RunState], TaskCount] = {}
    for count in (count for root in roots for count in root.counts):
        place = (count.task, count.state)
        before = found.get(place)
        number = count.count + (before.count if before else 0)
        firsts = [each.first for each in (count, before) if each is not None and each.first is not None]
        found[place] = msgspec.structs.replace(count, count=number, first=min(firsts, default=None))
    return list(found.values())


# --- for a terminal --------------------------------------------------------------------------------------------------


def picture(view: View, width: int, height: int, marks: output.Marks) -> RenderableType:
    """What a terminal of this size shows: all of it, or the most important lines."""
    from rich.console import Group

    room = max(6, height - BESIDE)
    workers, roots = view.engines[: max(2, room // 4)], view.roots[: max(2, room * 2 // 5)]
    busiest = sorted(view.lines, key=lambda line: (-(line.running + line.queued), line.task))
    lines = busiest[: max(2, room - len(workers) - len(roots))]
    parts: list[RenderableType] = [_head(view)]
    if view.unserved:
        names = ", ".join(text.clean(task, 40) for task in view.unserved[:3])
        parts.append(output.rich_text((f"no worker serves {names}", "bold red")))
    if roots:
        parts += ["", _roots(view, roots, width, marks), *_more(len(view.roots) - len(roots), "root", plus=view.more)]
        parts += ["", task_table(lines), *_more(len(view.lines) - len(lines), "task")]
    else:
        parts += ["", output.rich_text(("Nothing is under way.", "dim"))]
    if workers:
        parts += ["", _workers(view, workers), *_more(len(view.engines) - len(workers), "worker")]
    return Group(*parts)


def _more(count: int, what: str, *, plus: bool = False) -> list[RenderableType]:
    if count:
        return [output.rich_text((f"and {text.many(count, what)}{' or more' if plus else ''}", "dim"))]
    return [output.rich_text((f"and more {what}s", "dim"))] if plus else []


def _head(view: View) -> RenderableType:
    live = [engine.record for engine in view.engines if engine.live]
    slots, begun = sum(worker.slots for worker in live), sum(worker.running for worker in live)
    queued = sum(line.queued for line in view.lines)
    who = f"{text.many(len(live), 'worker')}, {text.many(slots, 'slot')}, {text.many(begun, 'run')} begun"
    return output.rich_text((f"{text.local_time(view.now)}  ", "dim"), f"{who}, {queued:,} queued")


def _roots(view: View, roots: Sequence[Root], width: int, marks: output.Marks) -> Table:
    wide = width >= WIDE
    table = output.plain_table()
    table.add_column("root", no_wrap=True)
    table.add_column("", min_width=8, max_width=40 if wide else 18, no_wrap=True, overflow="ellipsis")
    for name in ("age", "", "", "ended", "failed", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for root in roots:
        run, state = root.run, root.run.state
        table.add_row(
            output.rich_text((f"{marks.states[state]} ", output.STYLES[state]), short_text(run.id)),
            output.rich_text((text.clean(run.task, 60), "bold")),
            output.rich_text((text.age(view.now - run.created_at), "dim")),
            bar(root.ended, root.total, 24 if wide else 8, marks),
            f"{100 * root.ended // max(1, root.total)} %",
            f"{root.ended:,} of {root.total:,}" if wide else f"{root.ended:,}",
            output.rich_text((f"{root.failed:,}", "bold red" if root.failed else "dim")),
            output.rich_text((time_left(root.total - root.ended, root.range).removesuffix(" left"), "dim")),
        )
    return table


def _workers(view: View, workers: Sequence[Engine]) -> Table:
    table = output.plain_table()
    table.add_column("worker", min_width=10, max_width=40, no_wrap=True, overflow="ellipsis")
    for name in ("process", "slots", "begun", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for engine in workers:
        worker = engine.record
        table.add_row(
            output.rich_text((text.clean(worker.name, 60), "bold")),
            f"{worker.pid}",
            f"{worker.slots:,}",
            output.rich_text((f"{worker.running:,}", "cyan" if worker.running else "dim")),
            output.rich_text((text.age(view.now - worker.started_at), "dim")),
            output.rich_text((engine.verdict, "dim" if engine.live else "bold red")),
        )
    return table


# --- in a pipe, and for programs -------------------------------------------------------------------------------------


def _print_plain(view: View) -> None:
    names = ("root", "task", "state", "ended", "runs", "failed")
    rows = [
        (id_text(r.run.id), text.clean(r.run.task), r.run.state.name, f"{r.ended}", f"{r.total}", f"{r.failed}")
        for r in view.roots
    ]
    output.print_table([Column(name) for name in names], rows)
    for engine in view.engines:
        worker = engine.record
        about = f"worker {text.clean(worker.name)}: process {worker.pid}, {text.many(worker.slots, 'slot')}"
        output.note(f"{about}, {text.many(worker.running, 'run')} begun, {engine.verdict}")
    for task in view.unserved:
        output.note(f"no worker serves {text.clean(task)}")


def _json(view: View) -> dict[str, Any]:
    workers = [
        {name: getattr(engine.record, name) for name in ("id", "name", "host", "pid", "slots", "running")}
        | {"live": engine.live}
        for engine in view.engines
    ]
    roots = [
        {
            "id": id_text(root.run.id),
            "task": root.run.task,
            "status": root.run.state.name,
            "created_at": text.instant(root.run.created_at),
            "runs": looking.counts_json(root.counts),
        }
        for root in view.roots
    ]
    at = text.instant(view.now)
    return {"at": at, "roots": roots, "more": view.more, "workers": workers, "unserved": view.unserved}
