"""How far a run is, as one who looks on sees it: counts, again and again; and the tree below it, run by run."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from fanwood.engine.signals import Signal, block, running_loop
from fanwood.errors import BlockingCallError
from fanwood.sdk.listing import PAGE
from fanwood.sdk.running.infos import counts_of, run_info
from fanwood.sdk.running.waiting import asked
from fanwood.store.progress import progress_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fanwood.model.records import RunRecord, TaskCount
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.running.infos import RunCounts, RunInfo
    from fanwood.store.progress import Progress
    from fanwood.store.store import Store

SHARE = 12
"""A look may take one part in so many of the time."""


@dataclass(slots=True)
class RunTree:
    """A run and what is below it. `has_more`: it may have children that are not in `children`."""

    run: RunInfo
    children: list[RunTree] = field(default_factory=list["RunTree"])
    has_more: bool = False

    def _repr_html_(self) -> str:
        """For notebooks."""
        run, more = self.run, "<li>...</li>" if self.has_more else ""
        below = "".join(f"<li>{child._repr_html_()}</li>" for child in self.children)
        return f"{escape(run.task_name)} {run.status.name} <code>{run.id}</code><ul>{below}{more}</ul>"


async def count(host: Host, run_id: bytes) -> RunCounts:
    """See `Runs.counts`."""
    return counts_of(*await asked(host.engine(), lambda store: _look(store, run_id)))


async def _look(store: Store, run_id: bytes) -> tuple[RunRecord, list[TaskCount], Progress | None]:
    return await store.get(run_id), await store.tree_counts(run_id), await progress_of(store, run_id)


class Watch:
    """For `for counts in runs.watch(id)` and `async for`: the counts whenever they have changed, until the run has
    ended."""

    def __init__(self, host: Host, run_id: bytes, interval: float) -> None:
        self._host = host
        self._id = run_id
        self._pause = self._interval = interval
        self._last: RunCounts | None = None

    def __iter__(self) -> Iterator[RunCounts]:
        return self

    def __next__(self) -> RunCounts:
        if running_loop() is not None:
            raise BlockingCallError("`for ... in runs.watch(...)` blocks: use `async for` inside an event loop")
        found = block(self._next(), "runs.watch")
        if found is None:
            raise StopIteration
        return found

    def __aiter__(self) -> AsyncIterator[RunCounts]:
        return self

    async def __anext__(self) -> RunCounts:
        found = await self._next()
        if found is None:
            raise StopAsyncIteration
        return found

    async def _next(self) -> RunCounts | None:
        last = self._last
        if last is not None and last.status.is_terminal:
            return None
        while True:
            if self._last is not None:
                await Signal().wait(self._pause)
            began = self._host.clock.monotonic()
            self._last = await count(self._host, self._id)
            self._pause = max(self._interval, SHARE * (self._host.clock.monotonic() - began))  # of a large tree
            if self._last != last:
                return self._last


async def tree(host: Host, run_id: bytes, limit: int) -> RunTree:
    """See `Runs.tree`. Level by level, so that what is cut off is what is deepest."""
    top = RunTree(run_info(await asked(host.engine(), lambda store: store.get(run_id))))
    level, left = [(run_id, top)], limit - 1
    while level:
        below: list[tuple[bytes, RunTree]] = []
        for id_, node in level:
            if not node.run.attempt:  # it has spawned nothing yet
                continue
            found = await _children(host, id_, left + 1) if left else []
            node.has_more, found = not left or len(found) > left, found[:left]
            node.children = [RunTree(run_info(record)) for record in found]
            below += zip([record.id for record in found], node.children, strict=True)
            left -= len(found)
        level = below
    return top


async def _children(host: Host, parent: bytes, limit: int) -> list[RunRecord]:
    found: list[RunRecord] = []
    while size := min(PAGE, limit - len(found)):
        after = found[-1].id if found else b""
        page = await asked(
            host.engine(),
            lambda store: store.children(parent, after=after, limit=size),  # noqa: B023
        )
        found += page
        if len(page) < size:
            break
    return found
