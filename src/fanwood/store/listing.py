"""Listings in pages: which index to walk, how far, and where the next page goes on. Pure; the stores do the walking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.records import Page, RunFilter
from fanwood.model.states import RunState
from fanwood.store.rows import record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.model.records import RunRecord

WALK = 2_000
"""Rows that one call looks at, at most, if a filter lets only some through."""
BY_ID = ("list_runs", "list_roots_of_task")
"""In the order of ids, which begin with the time of their making."""
_END = (1 << 62, b"\xff" * 16)
_SKEW = 86_400_000
"""Milliseconds by which the clocks of those who make ids may differ."""


def statement(filter_: RunFilter) -> str:
    """The statement that walks the best index for it."""
    if filter_.every:
        return "list_failed" if filter_.state is RunState.FAILED else "list_runs"
    if filter_.task is not None or filter_.state is RunState.QUEUED:
        return "list_roots_of_task"
    if filter_.state is not None and filter_.state is not RunState.COMPLETED:
        return "list_roots_in_state"
    return "list_roots"


def walk(filter_: RunFilter) -> int:
    """How many rows to look at."""
    indexed = {
        "list_roots": (None, None),
        "list_runs": (None, None),
        "list_failed": (None, RunState.FAILED),
        "list_roots_of_task": (filter_.task, RunState.QUEUED if filter_.state is RunState.QUEUED else None),
        "list_roots_in_state": (None, filter_.state),
    }[statement(filter_)]
    plain = (filter_.task, filter_.state) == indexed and filter_.prefix is None and not filter_.metadata
    return filter_.limit if plain else max(WALK, filter_.limit)


def bindings(filter_: RunFilter) -> dict[str, Any]:
    """Those of all the statements."""
    at, after = filter_.after or _first_place(filter_)
    since = max(0, filter_.since // 1000 - _SKEW)
    pairs = ",".join(f"{msgspec.json.encode(name).decode()}:{value}" for name, value in filter_.metadata)
    return {
        "task": filter_.task,
        "prefix": filter_.prefix,
        "prefix_end": None if filter_.prefix is None else filter_.prefix + "\U0010ffff",
        "state": filter_.state,
        "metadata": f"{{{pairs}}}",
        "since": filter_.since,
        "since_id": since.to_bytes(6, "big") + bytes(10) if since < 1 << 48 else b"\xff" * 16,
        "at": at,
        "after": after,
        "walk": walk(filter_),
    }


def _first_place(filter_: RunFilter) -> tuple[int, bytes]:
    """Where a listing begins: before what is too new."""
    if filter_.until is None:
        return _END
    newest = max(0, filter_.until // 1000 + _SKEW + 1)
    is_by_id = statement(filter_) in BY_ID
    return filter_.until, (newest.to_bytes(6, "big") if newest < 1 << 48 else b"\xff" * 16) if is_by_id else b""


def page(filter_: RunFilter, rows: Iterable[Iterable[Any]]) -> Page:
    """What a walk brings: rows of runs, each with whether the filter lets it through. No more are taken than needed."""
    found: list[RunRecord] = []
    last, looked_at = None, 0
    for row in rows:
        *columns, passes = row
        last, looked_at = record(columns), looked_at + 1
        if passes and filter_.since <= last.created_at < (_END[0] if filter_.until is None else filter_.until):
            found.append(last)
            if len(found) == filter_.limit:
                break
    if last is None or (looked_at < walk(filter_) and len(found) < filter_.limit):
        return Page(found)
    place = last.finished_at if statement(filter_) == "list_failed" else last.created_at
    return Page(found, (place or 0, last.id))
