"""Listings as people ask for them: what they filter by, and as many runs as they want out of the store's pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec

from fanwood import checks
from fanwood.clock import MICROSECONDS
from fanwood.codec import codec_for
from fanwood.durations import in_microseconds
from fanwood.errors import PayloadError, UsageError
from fanwood.ids import id_text
from fanwood.model.records import RunFilter
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.durations import Duration
    from fanwood.model.records import Page, RunRecord

PAGE = 1000
"""Runs that are asked for at a time: an answer must not grow with what somebody wishes for."""

LATEST = 1 << 62
"""No time of a store is later."""

_pairs = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Listed:
    """What was found. `after` is where the listing goes on (`RunFilter.after`), None at its end; `cut`: it was given up
    there, before as many were found as were wanted."""

    runs: list[RunRecord]
    after: tuple[int, bytes] | None = None
    cut: bool = False


async def collect(
    ask: Callable[[RunFilter], Awaitable[Page]], filter_: RunFilter, is_over: Callable[[], bool] | None = None
) -> Listed:
    """As many runs as `filter_.limit`, page after page. `is_over` ends a search that finds little."""
    found: list[RunRecord] = []
    at, limit = filter_.after, filter_.limit
    while True:
        size = min(PAGE, limit + 1 - len(found))  # with one more it is seen whether there is more
        page = await ask(msgspec.structs.replace(filter_, limit=size, after=at))
        found += page.runs
        if len(found) > limit or (len(found) == limit and page.after is not None):
            return Listed(found[:limit], place(filter_, found[limit - 1]))
        if page.after is None:
            return Listed(found)
        at = page.after
        if is_over is not None and len(page.runs) < size and is_over():
            return Listed(found, at, cut=True)


def place(filter_: RunFilter, run: RunRecord) -> tuple[int, bytes]:
    """Where a run stands in a listing. What failed, of all runs, is in the order of ends.

    Raises:
        UsageError: it has no place there, as it has not ended.
    """
    if not (filter_.every and filter_.state is RunState.FAILED):
        return run.created_at, run.id
    if run.finished_at is None:
        raise UsageError(
            f"run {id_text(run.id)} is {run.state.name}: all failed runs are listed in the order of their ends, and it "
            f"has none"
        )
    return run.finished_at, run.id


# --- what is filtered by ---------------------------------------------------------------------------------------------


def filter_of(  # one for each thing that can be asked for
    namespace: str,
    *,
    task: str | None,
    status: RunState | str | None,
    since: int,
    until: int | None,
    limit: int,
    every: bool,
    metadata: dict[str, Any] | None,
) -> RunFilter:
    """A filter for one namespace; `task` is a whole name.

    Raises:
        UsageError: something that can't be asked for.
    """
    if type(limit) is not int or limit < 1:
        raise UsageError(f"limit must be a whole number from 1 on, and is {checks.shown(limit)}")
    prefix = f"{namespace}/" if namespace else None
    if prefix is not None and task is not None and task.startswith(prefix):
        prefix = None  # the name says it already
    return RunFilter(
        task=task,
        prefix=prefix,
        state=state_named(status),
        since=max(0, since),
        until=until if until is None else min(max(0, until), LATEST),
        limit=limit,
        every=bool(every),
        metadata=metadata_pairs(metadata),
    )


def state_named(status: RunState | str | None) -> RunState | None:
    """A state by its name, in any case.

    Raises:
        UsageError: there is no such state.
    """
    if status is None or isinstance(status, RunState):
        return status
    try:
        return RunState[status.upper()]
    except (KeyError, AttributeError):
        names = ", ".join(state.name for state in RunState)
        raise UsageError(f"There is no state {checks.shown(status)}; there are {names}") from None


def metadata_pairs(metadata: dict[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Names, and their values as JSON, written as the runs' own are.

    Raises:
        UsageError: a value that no run can have.
    """
    if metadata is None:
        return ()
    if not isinstance(cast("Any", metadata), dict):
        raise UsageError(f'metadata must be a dict such as {{"customer": 7}}, and is {checks.shown(metadata)}')
    try:
        codec = codec_for(Any)
        encoded = codec.canonical(codec.encode(metadata, "it", "metadata"))
    except (TypeError, PayloadError) as error:
        raise UsageError(f"metadata must be JSON: {error}") from None
    return tuple((name, bytes(value).decode()) for name, value in _pairs(encoded).items())


def microseconds_of(given: datetime | Duration, now: int, name: str) -> int:
    """A time as the store has it; a duration is so long before `now`. `name`: of the argument.

    Raises:
        UsageError: it is none, or none that a clock can show.
    """
    if not isinstance(given, datetime):
        return now - in_microseconds(checks.seconds(given, name, zero=True))
    try:
        return round(given.timestamp() * MICROSECONDS)
    except (TypeError, ValueError, OverflowError, OSError):
        raise UsageError(f"{name} must be a datetime of our times, and is {checks.shown(given)}") from None
