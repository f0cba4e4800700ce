"""`fanwood tree --critical`: the way down through a tree that made it long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fanwood.cli import looking, output, text
from fanwood.cli.finding import find
from fanwood.clock import MICROSECONDS, SystemClock
from fanwood.ids import SHORT
from fanwood.lens.book import Lenses
from fanwood.lens.pages import critical_path
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.cli.base import Common
    from fanwood.lens.views import CriticalStep, RunBrief
    from fanwood.store.store import Store

BAR = 24
"""Columns of the bar: when a run was there, of the time of the first."""


def show_critical(common: Common, run: str | None, *, ids: bool) -> None:
    """Print it."""

    async def ask(store: Store) -> tuple[tuple[CriticalStep, ...], int]:
        id_ = await find(store, run, common.settings().namespace)
        lenses = Lenses(SystemClock())
        return await critical_path(store, id_, lambda root: lenses.warm(store, root)), store.now()

    steps, now = looking.look(common, ask)
    if common.as_json:
        output.print_json(
            {"root": steps[0].run.id, "now": text.instant(now), "path": [_json(step, now) for step in steps]}
        )
    elif output.on_terminal():
        _print(steps, now, ids=ids)
    else:
        _print_plain(steps, now)


def _print(steps: Sequence[CriticalStep], now: int, *, ids: bool) -> None:
    console, marks = output.console(), output.marks()
    whole = _span(steps[0].run, now)
    columns = BAR if output.width() >= 2 * BAR + 40 else BAR // 2
    for level, step in enumerate(steps):
        run, state = step.run, RunState[step.run.state.upper()]
        cells: list[output.Cell] = [
            (_bar(_span(run, now), whole, columns, marks), output.STYLES[state]),
            (f"  {text.took(step.own):>8}  ", "bold"),
            ("  " * level, "dim"),
            (f"{marks.states[state]} ", output.STYLES[state]),
            (text.clean(run.task, 60), "bold"),
        ]
        if run.key:
            cells.append(f" {text.clean(run.key, 60)}")
        cells.append((f"  {_took(run, now)}", "dim"))
        if step.siblings:
            cells.append(
                (f"  last of {step.siblings + 1:,}" if run.finished_at else f"  of {step.siblings + 1:,}", "dim")
            )
        if ids or state is not RunState.COMPLETED or not level:
            cells.append((f"  {run.id[-SHORT:]}", "dim"))
        console.print(output.rich_text(*cells), no_wrap=True, overflow="ellipsis", crop=True)
    _print_end(steps)


def _print_plain(steps: Sequence[CriticalStep], now: int) -> None:
    click.echo("RUN\tSTATE\tOWN\tTOOK\tSIBLINGS\tID")
    for level, step in enumerate(steps):
        run = step.run
        name = f"{'  ' * level}{text.clean(run.task)}{' ' + text.clean(run.key) if run.key else ''}"
        shown = (name, run.state.upper(), text.took(step.own), _took(run, now), f"{step.siblings}", run.id)
        click.echo("\t".join(field or "-" for field in shown))
    _print_end(steps)


def _print_end(steps: Sequence[CriticalStep]) -> None:
    most = max(steps, key=lambda step: step.own)
    name = f"{text.clean(most.run.task)} {most.run.id[-SHORT:]}"
    output.note(f"Most of it, {text.took(most.own)}, was {name}'s own.")


def _span(run: RunBrief, now: int) -> tuple[int, int]:
    begun = run.started_at or run.created_at
    return begun, max(begun, run.finished_at or now)


def _took(run: RunBrief, now: int) -> str:
    begun, over = _span(run, now)
    return text.took(over - begun)


def _bar(span: tuple[int, int], whole: tuple[int, int], columns: int, marks: output.Marks) -> str:
    """When it was there."""
    start, length = whole[0], max(1, whole[1] - whole[0])
    first = min(columns - 1, max(0, (span[0] - start) * columns // length))
    last = min(columns, max(first + 1, -(-(span[1] - start) * columns // length)))
    return marks.empty * first + marks.full * (last - first) + marks.empty * (columns - last)


def _json(step: CriticalStep, now: int) -> dict[str, Any]:
    run = step.run
    begun, over = _span(run, now)
    return {
        "id": run.id,
        "task": run.task,
        "status": run.state.upper(),
        "started_at": text.instant(run.started_at),
        "finished_at": text.instant(run.finished_at),
        "seconds": (over - begun) / MICROSECONDS,
        "own_seconds": step.own / MICROSECONDS,
        "siblings": step.siblings,
    }
