"""What the URLs of the API may ask for. Unknown names are refused: a filter that is misspelt would show everything."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Limit = Annotated[int, msgspec.Meta(ge=1, le=200, description="At most so many.")]
Moment = Annotated[int, msgspec.Meta(ge=0, le=1 << 53, description="Microseconds since the epoch.")]
State = Literal["queued", "running", "waiting", "completed", "failed", "cancelled"]
Text = Annotated[str, msgspec.Meta(max_length=1000)]


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all of them."""


class TreesQuery(Query, frozen=True):
    """Which roots. `metadata`: a JSON object, all of which must be there. `after`: of the page before."""

    task: Text | None = None
    state: State | None = None
    since: Moment = 0
    until: Moment | None = None
    metadata: Text | None = None
    q: Text | None = None
    after: Text | None = None
    limit: Limit = 50


class WhereQuery(Query, frozen=True):
    """Which part of a tree: runs of a task, in a state, of a path (its place in `paths`), of a cluster of failures,
    that ended in a window of time."""

    bins: Annotated[int, msgspec.Meta(ge=16, le=1000)] = 240
    task: Text | None = None
    state: State | None = None
    path: Annotated[int, msgspec.Meta(ge=0)] | None = None
    cluster: Text | None = None
    since: Moment | None = None
    until: Moment | None = None


class NarrowQuery(Query, frozen=True):
    """Which runs of a tree."""

    task: Text | None = None
    path: Annotated[int, msgspec.Meta(ge=0)] | None = None
    state: State | None = None
    since: Moment | None = None
    until: Moment | None = None
    after: Text | None = None
    limit: Limit = 100


class MembersQuery(Query, frozen=True):
    """Which children."""

    task: Text | None = None
    state: State | None = None
    cluster: Text | None = None
    after: Text | None = None
    limit: Limit = 100


class TaskQuery(Query, frozen=True):
    """Only of one task."""

    task: Text | None = None


class FocusQuery(Query, frozen=True):
    """Around which run."""

    focus: Text | None = None


class PayloadQuery(Query, frozen=True):
    """From which character on."""

    offset: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)] = 0


class LogsQuery(Query, frozen=True):
    """From the line after which number on."""

    after: Annotated[int, msgspec.Meta(ge=-1, le=1 << 53)] = -1
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 200


class StreamQuery(Query, frozen=True):
    """From the chunk after which number on."""

    after: Annotated[int, msgspec.Meta(ge=-1, lt=1 << 30)] = -1


class SearchQuery(Query, frozen=True):
    """An id or some digits of it, a task, a key, a text of an error."""

    q: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class WindowQuery(Query, frozen=True):
    """A window of time; without it the last day."""

    since: Moment | None = None
    until: Moment | None = None


class LiveQuery(Query, frozen=True):
    """What to follow: `tree:ID`, `trees`, `workers`, with commas between."""

    topics: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
