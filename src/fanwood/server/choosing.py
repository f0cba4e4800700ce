"""Which runs an action is about: all that a filter lets through, page after page, as they were at its preview.

A page reads a bounded number of rows, and may find nothing though there is more. What is done to runs in between
disturbs nothing: a page begins after the last row of the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec

from fanwood.ids import id_bytes, id_text
from fanwood.lens.errors import brief, cluster_key, normal
from fanwood.lens.paths import on_path
from fanwood.model.actions import SPACE
from fanwood.model.looks import LAST_ID, Part
from fanwood.model.records import RunFilter, RunRecord
from fanwood.model.states import FIRST_WAIT, TERMINAL, UNFINISHED, RunKind, RunState
from fanwood.sdk.listing import metadata_pairs
from fanwood.server.queries import Moment, State, Text
from fanwood.store.pausing import FIRST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.looks import FailedRow
    from fanwood.store.store import Store

PAGE = 1000
_LAST = 1 << 62
_OURS = f"{SPACE}/"
_FAILED, _BADLY = (RunState.FAILED,), (RunState.FAILED, RunState.CANCELLED)

Action = Literal["cancel", "retry", "replay", "delete", "pause", "resume", "reprioritize", "retry_failures", "fork"]
Ids = Annotated[tuple[str, ...], msgspec.Meta(max_length=1000)]


Path = Annotated[tuple[Text, ...], msgspec.Meta(max_length=200)]


class ActionFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which runs. Of one tree (`tree`), of one family (`parent`), those named (`ids`), or of all trees: their roots
    only, unless `all`. `since` and `until` are about when they ended, of a tree or of failures; else about when they
    were created."""

    tree: Text | None = None
    path: Path = ()  # of a tree: only what has these tasks from the root down, or is below that; recursion is folded
    parent: Text | None = None
    ids: Ids = ()
    task: Text | None = None
    state: State | None = None
    cluster: Text | None = None  # of failures
    since: Moment | None = None
    until: Moment | None = None
    metadata: dict[str, Any] | None = None  # all of it must be there
    all: bool = False

    @property
    def is_narrowed(self) -> bool:
        """Whether it names anything at all."""
        return self != ActionFilter(all=self.all)


class Wanted(msgspec.Struct, frozen=True):
    """What an action is about: the filter, in one namespace (or all), as it was at that moment."""

    action: Action
    filter: ActionFilter
    namespace: str = ""
    moment: int = _LAST
    priority: int | None = None  # of what is reprioritized

    @property
    def states(self) -> tuple[RunState, ...]:
        """In which something can be done to them, as far as the filter lets them through. What was cancelled is retried
        only if somebody says so."""
        failed = _FAILED if self.filter.state is None and not self.filter.ids else _BADLY
        fit = {"cancel": UNFINISHED, "pause": UNFINISHED, "reprioritize": UNFINISHED, "retry": failed,
               "resume": (*UNFINISHED, *TERMINAL)}.get(self.action, TERMINAL)  # fmt: skip
        if self.filter.cluster is not None:
            fit = tuple(state for state in fit if state is RunState.FAILED)
        if self.filter.state is None:
            return fit
        return tuple(state for state in fit if state.name.lower() == self.filter.state)

    def fits(self, run: RunRecord) -> bool:
        """Whether a run is meant: also one that was found some time ago."""
        return self._fits(run, self.states)

    def sifted(self, runs: Sequence[RunRecord]) -> list[RunRecord]:
        """Those of them that are meant."""
        states = self.states
        return [run for run in runs if self._fits(run, states)]

    def _fits(self, run: RunRecord, states: tuple[RunState, ...]) -> bool:
        filter_, at = self.filter, run.finished_at
        happened = at if at is not None and self._by_end else run.created_at
        return (
            run.state in states
            and self.may(run)
            and (run.created_at if at is None else at) < self.moment
            and (filter_.task is None or filter_.task == run.task)
            and (filter_.since or 0) <= happened < (_LAST if filter_.until is None else filter_.until)
            and (filter_.cluster is None or filter_.cluster == _cluster(run))
            and (self.action != "delete" or run.parent_id is None)
            and (self.action == "cancel" or run.kind < FIRST_WAIT)  # a part goes with its run
            and (self.action != "fork" or run.kind != RunKind.STEP)
            and (not filter_.metadata or _has(run.metadata, filter_.metadata))
        )

    def may(self, run: RunRecord) -> bool:
        """Whether anything may be done to it. Not to actions, unless it is one that is meant."""
        return is_in(self.namespace, run.task) and (self.namespace == SPACE or not run.task.startswith(_OURS))

    @property
    def _by_end(self) -> bool:
        filter_ = self.filter
        return bool(filter_.tree or filter_.parent or filter_.ids) or self.is_of_failures

    @property
    def is_of_failures(self) -> bool:
        """Whether an index of failures leads to them."""
        filter_ = self.filter
        found = self.states == (RunState.FAILED,) and (filter_.all or filter_.cluster is not None)
        return found and not filter_.metadata


class Found(msgspec.Struct, frozen=True):
    """A page. `after`: where the next one begins; None: there is none."""

    runs: tuple[RunRecord, ...]
    after: str | None


def is_in(namespace: str, task: str) -> bool:
    """Whether a task is of a namespace; all are, if there is none."""
    return not namespace or task.startswith(f"{namespace}/")


def _has(metadata: str | None, wanted: dict[str, Any]) -> bool:
    there: Any = msgspec.json.decode(metadata) if metadata else {}
    return isinstance(there, dict) and set(metadata_pairs(wanted)) <= set(metadata_pairs(cast("Any", there)))


def _cluster(run: RunRecord) -> str | None:
    failure = brief(run.error)
    return None if failure is None else cluster_key(failure.type or failure.kind, normal(failure.message))


async def page(store: Store, wanted: Wanted, after: str = "", size: int = PAGE, *, twice: bool = False) -> Found:
    """The next of what is meant. Of failures there is no more than what tells them. `twice`: states are gone through a
    second time, for what has changed its own meanwhile; by then it is done to all others."""
    if not wanted.states:
        return Found((), None)
    filter_ = wanted.filter
    if wanted.action == "resume" and not filter_.ids:
        found, next_ = await _paused(store, filter_, after)
    elif filter_.ids:
        found, next_ = await _named(store, filter_.ids, after, size)
    elif filter_.parent is not None:
        found, next_ = await _children(store, wanted, id_bytes(filter_.parent), after, size)
    elif filter_.tree is not None:
        found, next_ = await _of_tree(store, wanted, id_bytes(filter_.tree), after, size)
    elif wanted.is_of_failures:
        found, next_ = await _failures(store, wanted, after, size)
    else:
        found, next_ = await _listed(store, wanted, after, size, rounds=2 if twice else 1)
    fitting = wanted.sifted(found)
    if filter_.path and fitting:
        fitting = await on_path(store, fitting, filter_.path)
    return Found(tuple(fitting), next_)


_Rows = tuple["Sequence[RunRecord]", "str | None"]


async def _named(store: Store, ids: tuple[str, ...], after: str, size: int) -> _Rows:
    start = int(after or 0)
    end = start + size
    return await store.briefs([id_bytes(each) for each in ids[start:end]]), str(end) if end < len(ids) else None


async def _paused(store: Store, filter_: ActionFilter, after: str) -> _Rows:
    """What is paused itself."""
    tree = () if filter_.tree is None else (id_bytes(filter_.tree),)
    at, _, last = after.partition(".")
    pauses = await store.pauses(tree, (int(at), bytes.fromhex(last)) if after else (-1, b""))
    next_ = f"{pauses[-1].made_at}.{pauses[-1].run_id.hex()}" if len(pauses) == FIRST else None
    found = await store.briefs([pause.run_id for pause in pauses])
    roots_only = not (filter_.all or filter_.tree or filter_.parent)
    parent = None if filter_.parent is None else id_bytes(filter_.parent)
    fits = [run for run in found if parent is None or run.parent_id == parent]
    return [run for run in fits if run.parent_id is None or not roots_only], next_


async def _children(store: Store, wanted: Wanted, parent: bytes, after: str, size: int) -> _Rows:
    """A segment of the family at a time, or so many of what failed in its tree, whatever fits of it."""
    above = await store.briefs([parent])
    if not above:
        return [], None
    root, last = above[0].root_id, bytes.fromhex(after)
    state = wanted.states[0] if len(wanted.states) == 1 else None
    if state is RunState.FAILED and not wanted.filter.metadata:
        rows = await store.failed(root, last, size)
        fits = [_failed(row) for row in rows if row.parent_id == parent]
        return fits, rows[-1].id.hex() if len(rows) == size else None
    end = await store.segment_end(root, parent, last)
    found = await store.picked(Part(root, parent, last, end or LAST_ID), wanted.filter.task, state, size)
    next_ = found[-1].id if len(found) == size else end
    return found, None if next_ is None else next_.hex()


async def _of_tree(store: Store, wanted: Wanted, root: bytes, after: str, size: int) -> _Rows:
    if wanted.states == (RunState.FAILED,) and not wanted.filter.metadata:
        rows = await store.failed(root, bytes.fromhex(after), size)
        return [_failed(row) for row in rows], rows[-1].id.hex() if len(rows) == size else None
    if not after:
        return await store.briefs([root]), "."
    parent, _, last = after.partition(".")
    found = await store.below(root, (bytes.fromhex(parent), bytes.fromhex(last)), size)
    if len(found) < size:
        return found, None
    return found, f"{(found[-1].parent_id or b'').hex()}.{found[-1].id.hex()}"


async def _failures(store: Store, wanted: Wanted, after: str, size: int) -> _Rows:
    filter_ = wanted.filter
    at, _, last = after.partition(".")
    begin = (int(at), bytes.fromhex(last)) if after else (filter_.since or 0, b"")
    before = min(wanted.moment, _LAST if filter_.until is None else filter_.until)
    rows = await store.failed_at(begin, before, size)
    next_ = f"{rows[-1].finished_at}.{rows[-1].id.hex()}" if len(rows) == size else None
    return [_failed(row) for row in rows], next_


def _failed(row: FailedRow) -> RunRecord:
    """As far as it tells whether it is meant."""
    return RunRecord(
        id=row.id, parent_id=row.parent_id, root_id=row.root_id, depth=0, task=row.task, child_key=None, input=None,
        metadata=None, priority=0, state=RunState.FAILED, attempt=row.attempt, retry_count=0, deaths=0, worker_id=None,
        deadline=None, created_at=row.finished_at, started_at=None, finished_at=row.finished_at, due_at=None,
        output=None, error=row.error,
    )  # fmt: skip


async def _listed(store: Store, wanted: Wanted, after: str, size: int, *, rounds: int) -> _Rows:
    """State after state, since a listing knows one; or all of them. What comes back to the queue after that was gone
    through is found by another round."""
    filter_ = wanted.filter
    states = wanted.states * (rounds if wanted.states == UNFINISHED else 1)
    number, _, place = after.partition(":")
    now = int(number or 0)
    at, _, last = place.partition(".")
    asked = RunFilter(
        task=filter_.task,
        prefix=f"{wanted.namespace}/" if wanted.namespace else None,
        state=states[now],
        since=filter_.since or 0,
        until=filter_.until,
        limit=size,
        every=filter_.all,
        metadata=metadata_pairs(filter_.metadata),
        after=(int(at), bytes.fromhex(last)) if place else None,
    )
    listed = await store.listing(asked)
    runs = listed.runs if now < len(wanted.states) else await _not_done(store, wanted, listed.runs)
    if listed.after is not None:
        return runs, f"{now}:{listed.after[0]}.{listed.after[1].hex()}"
    return runs, f"{now + 1}:" if now + 1 < len(states) else None


async def _not_done(store: Store, wanted: Wanted, runs: Sequence[RunRecord]) -> Sequence[RunRecord]:
    """Those to which it was not done before. (What is cancelled is in another state.)"""
    if wanted.action == "reprioritize":
        return [run for run in runs if run.priority != wanted.priority]
    if wanted.action == "pause" and runs:
        done = {pause.run_id for pause in await store.pauses(list({run.root_id for run in runs}))}
        return [run for run in runs if run.id not in done]
    return runs


def names_of(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """Their ids."""
    return tuple(id_text(run.id) for run in runs)
