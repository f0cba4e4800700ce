"""Runs that several calls of a tree share, and the calls' links to them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fanwood.model.states import Cause, EndedBy, OnParentEnd, Open, RunKind, RunState
from fanwood.store.expiry import expiry
from fanwood.store.failures import ancestor_ended
from fanwood.store.memory.leaving import ALL, Ending, Leaving, Queueing, gate_of
from fanwood.store.memory.tables import Run, Shared, Tables
from fanwood.store.memory.urgency import Urgency
from fanwood.store.sharing import NOBODY, UNSHARED, circle, circle_error, page_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fanwood.model.commands import Record, Spawn


class Sharing:
    """Of one memory."""

    def __init__(self, tables: Tables, leaving: Leaving) -> None:
        self._tables = tables
        self._leaving = leaving
        self._urgency = Urgency(tables, leaving)
        leaving.unlink = self.ended

    # --- a link ----------------------------------------------------------------------------------------------------

    def link(self, now: int, asked: Record, born: Callable[[], Run]) -> None:
        """A call shares a run."""
        tables, kind = self._tables, asked.kind
        link, again = tables.runs.get(asked.id), False
        if link is None:
            tables.add(link := born())
        elif link.state in (RunState.FAILED, RunState.CANCELLED) or gate_of(tables, link) is not None:
            again = True
            self._leaving.record(now, link, asked, None)
        elif not link.is_over:
            tables.change(
                link, asked=kind.parent_attempt, deadline=kind.deadline, deadline_by=kind.deadline_by,
                expires_at=asked.expires_at(now), on_parent_end=int(kind.on_parent_end),
            )  # fmt: skip
        if link.is_over or (link.awaits is not None and not again):
            return
        self._leaving.woken = True
        root, share = tables.runs[link.root_id], asked.share
        assert share is not None
        if root.state in (RunState.FAILED, RunState.CANCELLED):
            how = "failed" if root.state == RunState.FAILED else "was cancelled"
            self._end(now, link, RunState.CANCELLED, None, ancestor_ended(root.id, how), EndedBy.ANCESTOR)
            return
        there = (root.id, share.input_digest or b"") in tables.shared
        target = self._target(now, root, share, again=again)
        inside = self._inside(link)
        tables.change(link, awaits=target.id + (inside or NOBODY))
        if target.is_over:
            self._follow(now, link, target)
            return
        said = self._urgency.last(target.id)  # by hand: that counts, whatever calls ask for
        tables.change(target, priority=max(target.priority, share.kind.priority) if said is None else said)
        if inside is None or not there:  # what is born waits for nobody
            return
        way = circle(inside, target.id, self._insides)
        if way is not None:
            error = circle_error([(tables.runs[id_].task, id_) for id_ in way])
            self._end(now, link, RunState.FAILED, None, error, EndedBy.OUTCOME)

    def births(self, asked: Iterable[Record]) -> list[Record]:
        """Those of these links that will be the first to what they share."""
        tables = self._tables
        first: dict[tuple[bytes, bytes], Record] = {}
        for one in asked:
            link, root = tables.runs.get(one.id), tables.runs[one.kind.root_id or b""]
            if one.share is None or root.state in (RunState.FAILED, RunState.CANCELLED):
                continue
            if link is not None and link.awaits and (link.state == RunState.COMPLETED or not link.is_over):
                continue
            place = (root.id, one.share.input_digest or b"")
            if place not in tables.shared:
                first.setdefault(place, one)
        return list(first.values())

    def _target(self, now: int, root: Run, share: Spawn, *, again: bool) -> Run:
        """What is shared: found, or born; run again if it was cancelled, or has failed and is asked for `again`."""
        tables, place = self._tables, (root.id, share.input_digest or b"")
        shared = tables.shared.get(place)
        if shared is None:
            run = _born(now, root, share)
            tables.add(run)
            tables.share(Shared(*place, run.id, int(Open.LIVING)))
            return run
        run = tables.runs[shared.run_id]
        if self._leaving.gated:
            self._leaving.cut(now, run)
        tables.change(run, asked=root.attempt)  # what an earlier attempt of the root has closed is free again
        revived = run.state == RunState.CANCELLED or (again and run.state == RunState.FAILED)
        if revived and self._leaving.closed(run) is None:
            self._leaving.queue(now, [Queueing(run.id, run.attempt, run.state, Cause.REPLAY)])
        return run

    def _inside(self, link: Run) -> bytes | None:
        """The shared run that a link is a part of."""
        above = self._tables.runs.get(link.parent_id or b"")
        while above is not None and above.depth > 1:
            above = self._tables.runs.get(above.parent_id or b"")
        return above.id if above is not None and above.id in self._tables.shared_of else None

    def _insides(self, target: bytes, after: bytes) -> bytes | None:
        """Of the links of a run the first that is a part of a shared run after this one: of which."""
        for awaits, _ in self._tables.order("awaiting").after((target + after + b"\xff",)):
            return awaits[16:] if awaits[:16] == target else None
        return None

    # --- ends ------------------------------------------------------------------------------------------------------

    def ended(self, now: int, run: Run) -> None:
        """A run has ended: its links do, or, if it is one, what it was a link to may."""
        shared = self._tables.shared_of.get(run.id)
        if shared is not None and shared.open:
            self.tell(now, shared)
        if run.kind == RunKind.SHARE and run.awaits is not None:
            self._leave(now, run.awaits[:16])

    def tell(self, now: int, shared: Shared) -> None:
        """A page of its links."""
        run = self._tables.runs[shared.run_id]
        if not run.is_over:
            self._tables.reopen(shared, Open.LIVING)
            return
        most = page_of(run.output)
        links = self._links(run.id, most)
        self._tables.reopen(shared, Open.TELLING if len(links) == most else Open.OVER)
        self._leaving.is_telling |= len(links) == most
        closed = self._leaving.end_closed(now, links)
        for link in links:
            self._leaving.woken = True
            if link.id not in closed:
                self._follow(now, link, run)

    def tell_some(self, now: int) -> None:
        """A page of those that are not told yet."""
        for run_id in self._tables.telling.first(1):
            self.tell(now, self._tables.shared_of[run_id])

    def _links(self, target: bytes, most: int) -> list[Run]:
        places = self._tables.order("awaiting").after((target,))
        return [self._tables.runs[id_] for awaits, id_ in islice(places, most) if awaits[:16] == target]

    def _leave(self, now: int, target: bytes) -> None:
        """It has one link less: if that was the last, nobody wants it."""
        run, shared = self._tables.runs.get(target), self._tables.shared_of.get(target)
        if (
            run is None
            or shared is None
            or run.is_over
            or self._links(target, 1)
            or self._leaving.end_closed(now, [run])
        ):
            return
        before = run.state
        how = (RunState.CANCELLED, None, UNSHARED, EndedBy.ANCESTOR)
        self._leaving.end(0, now, [Ending(run.id, run.attempt, before, *how)])
        closing = ancestor_ended(run.id, "was cancelled: nobody waits for it any more")
        self._leaving.has_closed |= self._leaving.close(now, run.id, ALL, run.attempt, closing)

    def _follow(self, now: int, link: Run, run: Run) -> None:
        """A link ends as what it shares has."""
        self._end(now, link, RunState(run.state), run.output, run.error, EndedBy(run.ended_by or EndedBy.OUTCOME))

    def _end(self, now: int, link: Run, state: RunState, output: str | None, error: str | None, by: EndedBy) -> None:
        self._leaving.end(0, now, [Ending(link.id, link.attempt, RunState.WAITING, state, output, error, by)])


def _born(now: int, root: Run, share: Spawn) -> Run:
    kind = share.kind
    return Run(
        id=share.id, parent_id=root.id, root_id=root.id, depth=1, kind=int(kind.run_kind), task=kind.task,
        identity=None, child_index=None, child_key=None, input_digest=None, input=share.input, metadata=kind.metadata,
        priority=kind.priority, on_parent_end=int(OnParentEnd.SHARED), state=int(RunState.QUEUED), waits=None,
        due_at=None, attempt=0, trial_start=0, retry_count=0, deaths=0, asked=root.attempt, worker_id=None,
        deadline=None, deadline_by=None, schedule_timeout=kind.schedule_timeout,
        expires_at=expiry(now, kind.schedule_timeout, None), created_at=now, started_at=None, finished_at=None, busy=0,
        ended_by=None, output=None, error=None, limit_at=None, budget=root.budget,
    )  # fmt: skip
