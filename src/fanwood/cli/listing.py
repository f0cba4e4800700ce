"""`fanwood runs ls`: the newest runs, and how to go on from there."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from fanwood.cli import looking, output, text
from fanwood.cli.base import Command, Common, Sentence, common
from fanwood.cli.output import Column
from fanwood.clock import MICROSECONDS, SystemClock
from fanwood.durations import in_microseconds, parse
from fanwood.errors import RunNotFoundError, UsageError
from fanwood.ids import id_text
from fanwood.model.states import RunState
from fanwood.sdk.listing import Listed, collect, filter_of, place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.model.records import RunFilter, RunRecord
    from fanwood.store.store import Store

PATIENCE = 3.0
"""Seconds after which a search that finds little is given up: it says how far it came."""
WIDE = 120
"""Terminals of fewer columns show ages instead of times, and no remarks."""
GAP = 2
"""Columns between two columns of a table."""
_STATES = [state.name.lower() for state in RunState]


class Wanted(NamedTuple):
    """The options of `runs ls`, as they were given."""

    status: str | None
    every: bool
    task: str | None
    since: str | None
    meta: tuple[str, ...]
    limit: int
    after: str | None

    @property
    def is_narrowed(self) -> bool:
        """Whether not all runs are looked for."""
        return bool(self.status or self.task or self.since or self.meta or self.after)


@click.command(
    name="ls",
    cls=Command,
    epilog="Examples:\n  fanwood runs ls --status failed --since 1h\n"
    "  fanwood runs ls --all --status waiting\n  fanwood runs ls --meta customer=7 --meta 'plan=\"7\"'\n\n"
    "JSON: {runs: [{id, task, kind, status, parent_id, root_id, depth, child_key, priority, metadata, attempt,\n"
    "  retry_count, created_at, started_at, finished_at, due_at, seconds, busy_seconds, error: {kind, type,\n"
    "  message, traceback, limit, owner} | null}], after: id | null}; `after` is what --after goes on with",
)
@click.option("--status", type=click.Choice(_STATES, case_sensitive=False), help="Only those in this state.")
@click.option("--all", "every", is_flag=True, help="Children as well. What failed comes in the order of its end.")
@click.option("--task", metavar="NAME", help="Only runs of this task.")
@click.option("--since", metavar="WHEN", help="Only newer ones: 90s, 1h, 2d, or an ISO time.")
@click.option(
    "--meta",
    metavar="KEY=VALUE",
    multiple=True,
    help="Only those with this in their metadata. VALUE is JSON, or else a text. May be repeated.",
)
@click.option("--limit", metavar="N", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--after", metavar="RUN", help="Go on after this run.")
@common
def command(common: Common, **options: Any) -> None:
    """List runs, newest first: those that were not spawned by another run (roots), or all."""
    wanted = Wanted(**options)
    listed, now = _listed(common, wanted)
    if common.as_json:
        after = None if listed.after is None else id_text(listed.after[1])
        output.print_json({"runs": [looking.run_json(run, now) for run in listed.runs], "after": after})
    elif listed.runs:
        _print(listed.runs, now)
    elif not listed.cut:
        output.note("No such runs." if wanted.is_narrowed else "No runs.")
    _say_more(listed)


def _listed(common: Common, wanted: Wanted) -> tuple[Listed, int]:
    namespace = common.settings().namespace
    if wanted.task == "":
        raise Sentence("--task is empty: name a task")
    task = f"{namespace}/{wanted.task}" if namespace and wanted.task and "/" not in wanted.task else wanted.task
    metadata = _metadata(wanted.meta)

    async def ask(store: Store) -> tuple[Listed, int]:
        filter_ = filter_of(
            namespace,
            task=task,
            status=wanted.status,
            since=0 if wanted.since is None else _moment(wanted.since, store.now()),
            limit=wanted.limit,
            every=wanted.every,
            metadata=metadata,
        )
        if wanted.after is not None:
            filter_ = msgspec.structs.replace(filter_, after=await _place(store, filter_, wanted.after))
        clock = SystemClock()
        until = clock.monotonic() + PATIENCE
        return await collect(store.listing, filter_, lambda: clock.monotonic() > until), store.now()

    return looking.look(common, ask)


async def _place(store: Store, filter_: RunFilter, after: str) -> tuple[int, bytes]:
    try:
        return place(filter_, await store.get(await store.find(after)))
    except (RunNotFoundError, UsageError) as error:
        raise Sentence(f"--after: {error}") from None


def _moment(since: str, now: int) -> int:
    try:
        return now - in_microseconds(parse(since, 1e30))  # however long ago
    except ValueError:
        pass
    try:
        return round(datetime.fromisoformat(since).astimezone().timestamp() * MICROSECONDS)
    except (ValueError, OverflowError):
        raise Sentence(f"--since {since!r} is neither a duration (90s, 1h, 2d) nor an ISO time") from None


def _metadata(given: tuple[str, ...]) -> dict[str, Any]:
    """From names to values."""
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise Sentence(f"--meta {pair!r} is not KEY=VALUE, such as --meta customer=7")
        if name in found:
            raise Sentence(f"--meta {name}=... is given twice: a run has one value of a name")
        found[name] = _value(pair, value)
    return found


def _value(pair: str, value: str) -> Any:
    try:
        value.encode()
        return msgspec.json.decode(value)
    except UnicodeEncodeError:
        raise Sentence(f"--meta {pair!r} is not UTF-8 text") from None
    except RecursionError:
        raise Sentence(f"--meta {pair.partition('=')[0]}=... is nested too deeply") from None
    except msgspec.MsgspecError:
        return value  # no JSON: a text without its quotes


def _say_more(listed: Listed) -> None:
    if listed.after is None:
        return
    at, id_ = listed.after
    if listed.cut:
        found = text.many(len(listed.runs), "run") if listed.runs else "nothing"
        output.note(
            f"Looked back to {text.local_time(at)} in {PATIENCE:g} s, and found {found} so far. "
            f"To go on from there: --after {id_text(id_)}"
        )
    else:
        output.note(f"There may be more: --after {id_text(id_)}")


# --- for people ------------------------------------------------------------------------------------------------------


def _print(runs: list[RunRecord], now: int) -> None:
    if not output.on_terminal():
        columns = [Column("id"), Column("task"), Column("state"), Column("created"), Column("took")]
        output.print_table(columns, [_plain_row(run, now) for run in runs])
    elif (width := output.width()) < WIDE:
        _print_narrow(runs, now, width)
    else:
        _print_wide(runs, now, width)


def _plain_row(run: RunRecord, now: int) -> list[output.Cell]:
    return [
        id_text(run.id),
        text.clean(run.task, 60),
        run.state.name,
        text.local_time(run.created_at),
        text.took(looking.ended_at(run, now)),
    ]


def _print_narrow(runs: list[RunRecord], now: int, width: int) -> None:
    columns = [
        Column("id", fixed=True),
        Column("task", fixed=True),
        Column("state", fixed=True),
        Column("age", right=True, fixed=True),
        Column("took", right=True, fixed=True),
    ]
    ages = [text.took(now - run.created_at) for run in runs]
    spans = [text.took(looking.ended_at(run, now)) for run in runs]
    room = max(8, width - 36 - _widest(run.state.name for run in runs) - _widest(ages) - _widest(spans) - 4 * GAP)
    rows: list[list[output.Cell]] = [
        [id_text(run.id), text.clean(name, room), output.state_cell(run.state), age, span]
        for run, name, age, span in zip(runs, _names(runs), ages, spans, strict=True)
    ]
    output.print_table(columns, rows)


def _print_wide(runs: list[RunRecord], now: int, width: int) -> None:
    columns = [
        Column("id", fixed=True),
        Column("task", fixed=True),
        Column("state", fixed=True),
        Column("created", fixed=True),
        Column("took", right=True, fixed=True),
        Column("", fixed=True),
    ]
    spans = [text.took(looking.ended_at(run, now)) for run in runs]
    names = _names(runs)
    remarks = [_remark(run, now) for run in runs]
    left = width - 36 - _widest(run.state.name for run in runs) - 19 - _widest(spans) - 5 * GAP
    room = min(_widest(names), max(left - _widest(remarks), left * 2 // 5))
    rows: list[list[output.Cell]] = [
        [
            id_text(run.id),
            text.clean(name, room),
            output.state_cell(run.state),
            text.local_time(run.created_at),
            span,
            (text.clean(remark, max(4, left - room)), "dim"),
        ]
        for run, name, span, remark in zip(runs, names, spans, remarks, strict=True)
    ]
    output.print_table(columns, rows)


def _names(runs: list[RunRecord]) -> list[str]:
    """Their tasks and keys."""
    return [text.clean(f"{run.task} {run.child_key or ''}", 60) for run in runs]


def _widest(cells: Iterable[str]) -> int:
    """At least as wide as a heading."""
    return max(5, *map(len, cells))


def _remark(run: RunRecord, now: int) -> str:
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        return looking.reason(run.error)
    if run.state is RunState.WAITING:
        return looking.waits(run, now).removeprefix("waiting ")
    return f"attempt {run.attempt}" if run.attempt > 1 else ""
