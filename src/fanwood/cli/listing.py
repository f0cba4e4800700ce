"""`fanwood runs ls`: the newest runs, and how to go on from there."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common, Sentence
from fanwood.cli.finding import find
from fanwood.cli.output import Column
from fanwood.cli.selecting import Wanted
from fanwood.clock import SystemClock
from fanwood.errors import RunNotFoundError, UsageError
from fanwood.ids import SHORT, id_text, short_text
from fanwood.model import actions
from fanwood.model.records import RunFilter
from fanwood.model.states import RunState
from fanwood.sdk.listing import Listed, collect, place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.model.records import Page, RunRecord
    from fanwood.store.store import Store

PATIENCE = 3.0
"""Seconds after which a search that finds little is given up: it says how far it came."""
WIDE = 120
"""Terminals of fewer columns show ages instead of times."""
GAP = 2
"""Columns between two columns of a table."""
NARROWEST = 20
"""Columns that a task and a remark have at least: for these a small terminal goes without ages and durations."""
COUNTED = 1000
"""So many failures below roots are counted, at most."""


class Shown(NamedTuple):
    """What was found. `below`: how many failed runs there are below completed roots, by root; of so many as were
    counted."""

    listed: Listed
    now: int
    below: Counter[bytes]
    every_failure_counted: bool


def ls(common: Common, wanted: Wanted, limit: int, after: str | None) -> None:
    shown = _look(common, wanted, limit, after)
    listed, now = shown.listed, shown.now
    if common.as_json:
        next_ = None if listed.after is None else id_text(listed.after[1])
        output.print_json({"runs": [looking.run_json(run, now) for run in listed.runs], "after": next_})
    elif not listed.runs:
        if not listed.cut:
            output.note("No such runs." if wanted.is_narrowed or after else "No runs.")
    elif output.on_terminal():
        _print(shown, output.width())
    else:
        columns = [Column("id"), Column("task"), Column("state"), Column("created"), Column("took")]
        output.print_table(columns, [_plain_row(run, now) for run in listed.runs])
    _say_more(listed)
    if not common.as_json:
        _say_below(shown)


def _look(common: Common, wanted: Wanted, limit: int, after: str | None) -> Shown:
    namespace = common.settings().namespace

    async def ask(store: Store) -> Shown:
        filter_ = wanted.filter(namespace, store.now(), limit)
        if after is not None:
            filter_ = msgspec.structs.replace(filter_, after=await _place(store, filter_, after))

        async def page(of: RunFilter) -> Page:
            found = await store.listing(of)
            return msgspec.structs.replace(found, runs=actions.shown(found.runs, of))

        clock = SystemClock()
        until = clock.monotonic() + PATIENCE
        listed = await collect(page, filter_, lambda: clock.monotonic() > until)
        below, whole = await _below(store, listed.runs)
        return Shown(listed, store.now(), below, whole)

    return looking.look(common, ask)


async def _below(store: Store, runs: list[RunRecord]) -> tuple[Counter[bytes], bool]:
    """How many failed runs are below the completed roots among these."""
    roots = {run.id: run.created_at for run in runs if run.parent_id is None and run.state is RunState.COMPLETED}
    if not roots:
        return Counter(), True
    filter_ = RunFilter(state=RunState.FAILED, every=True, since=min(roots.values()), limit=COUNTED)
    failed = await collect(store.listing, filter_)
    return Counter(run.root_id for run in failed.runs if run.root_id in roots), failed.after is None


async def _place(store: Store, filter_: RunFilter, after: str) -> tuple[int, bytes]:
    try:
        return place(filter_, await store.get(await find(store, after)))
    except (Sentence, RunNotFoundError, UsageError) as error:
        raise Sentence(f"--after: {error}") from None


def _say_more(listed: Listed) -> None:
    if listed.after is None:
        return
    at, id_ = listed.after
    if listed.cut:
        found = text.many(len(listed.runs), "run") if listed.runs else "nothing"
        output.note(
            f"Looked back to {text.local_time(at)} in {PATIENCE:g} s, and found {found} so far. "
            f"To go on from there: --after {_id(id_)}"
        )
    else:
        output.note(f"There may be more: --after {_id(id_)}")


def _say_below(shown: Shown) -> None:
    count = shown.below.total()
    if count:
        plus = "" if shown.every_failure_counted else "+"
        output.note(
            f"{count:,}{plus} failed {'run' if count == 1 else 'runs'} below completed roots: "
            f"fanwood runs ls --all --failed"
        )


def _id(id_: bytes) -> str:
    return short_text(id_) if output.on_terminal() else id_text(id_)


def _plain_row(run: RunRecord, now: int) -> list[output.Cell]:
    return [
        id_text(run.id),
        text.clean(run.task, 60),
        run.state.name,
        text.local_time(run.created_at),
        text.took(looking.ended_at(run, now)),
    ]


# --- for people ------------------------------------------------------------------------------------------------------


def _print(shown: Shown, width: int) -> None:
    """One line for each run: what is left of a line is shared by its name and a remark."""
    runs, now = shown.listed.runs, shown.now
    wide = width >= WIDE
    times = [text.local_time(run.created_at) if wide else text.age(now - run.created_at) for run in runs]
    spans = [text.took(looking.ended_at(run, now)) for run in runs]
    names = [text.clean(f"{run.task} {run.child_key or ''}", 60) for run in runs]
    remarks = [_remark(run, shown.below[run.id], now) for run in runs]
    left = width - SHORT - _widest(run.state.name for run in runs) - 3 * GAP
    optional = [("took", spans), ("created" if wide else "age", times)]
    while optional and left - sum(_widest(cells) + GAP for _, cells in optional) < NARROWEST:
        optional.pop(0)
    left -= sum(_widest(cells) + GAP for _, cells in optional)
    kept = [name for name, _ in optional]
    columns = [
        Column("id", fixed=True),
        Column("task", fixed=True),
        Column("state", fixed=True),
        *(Column(name, right=not wide or name == "took", fixed=True) for name in reversed(kept)),
        Column("", fixed=True),
    ]
    room = min(_widest(names), max(left - _widest(remarks), left * 2 // 5))
    rows: list[list[output.Cell]] = [
        [
            short_text(run.id),
            text.fitted(name, room),
            output.state_cell(run.state),
            *([(time, "dim")] if len(kept) else []),
            *([span] if "took" in kept else []),
            (text.fitted(remark, max(4, left - room)), "red" if run.id in shown.below else "dim"),
        ]
        for run, name, time, span, remark in zip(runs, names, times, spans, remarks, strict=True)
    ]
    output.print_table(columns, rows)


def _widest(cells: Iterable[str]) -> int:
    """At least as wide as a heading."""
    return max(5, *map(text.columns, cells))


def _remark(run: RunRecord, failed_below: int, now: int) -> str:
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        return looking.reason(run.error)
    if run.state is RunState.WAITING:
        return looking.waits(run, now).removeprefix("waiting ").removeprefix("sleeping ")
    if failed_below:
        return f"{failed_below:,} failed below"
    return f"attempt {run.attempt}" if run.is_begun_again else ""
