"""What `fanwood.runs` does to all runs that a filter lets through: counted first, done a thousand at a time, and gone
on with if the process dies.

It is a tree of runs, as what the dashboard's server does, and by the same code. That stands on an upper floor, and is
loaded when somebody asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

import msgspec

from fanwood import checks
from fanwood.engine.signals import block
from fanwood.errors import BlockingCallError, RunInterrupted, UsageError, WaitTimeoutError
from fanwood.handed import handed
from fanwood.ids import id_bytes, id_text
from fanwood.sdk.declaring.options import known_only
from fanwood.sdk.listing import metadata_pairs, microseconds_of, state_named
from fanwood.sdk.recording.once import once
from fanwood.sdk.running.acting import who_acts
from fanwood.sdk.running.infos import run_info
from fanwood.sdk.running.waiting import asked

if TYPE_CHECKING:
    from datetime import datetime

    from fanwood.durations import Duration
    from fanwood.model.states import RunState
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.running.infos import RunInfo

BulkVerb = Literal["cancel", "retry", "retry_failures", "replay", "pause", "resume", "reprioritize", "fork"]
MOST = 1_000
"""Ids that can be named."""


class BulkFilter(TypedDict, total=False):
    """Which runs.

    task_name: only runs of this task.
    status: only those in this state. Without it, those in a state that fits; of what was cancelled nothing is retried
        unless this says so, or `ids`.
    since: created at this time or later (of `tree` or `ids`: that ended then, or later).
    until: before this time.
    metadata: only those whose metadata has all of this.
    all_runs: children as well, and not only roots.
    tree: only runs of this tree: the id of its root.
    ids: these runs, a thousand at most.
    """

    task_name: str | None
    status: RunState | str | None
    since: datetime | Duration | None
    until: datetime | Duration | None
    metadata: dict[str, Any] | None
    all_runs: bool
    tree: str | None
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class BulkPreview:
    """How many runs something would be done to: `count`, or (`at_least`) that many and more; and the first of them."""

    action: str
    count: int
    at_least: bool
    sample: list[RunInfo]


@dataclass(frozen=True, slots=True)
class BulkResult:
    """To how many runs it was `done`; how many were `left` alone, as they had changed since they were counted."""

    done: int
    left: int


class BulkAction:
    """Something that is done to many runs, and under way. `id`: of the run that does it, which says how far it is
    (`runs.counts(id).progress`) and can be cancelled (`runs.cancel(id)`)."""

    def __init__(self, id: str, begun: Any) -> None:
        self.id = id
        self._begun = begun

    def result(self, timeout: Duration | None = None) -> BulkResult:
        """Wait for its end.

        Raises:
            WaitTimeoutError: it is not over yet.
            TaskRunError: it failed, or was cancelled.
        """
        with contextlib.ExitStack() as over:
            over.callback(self._begun.close)
            try:
                return block(self._result(timeout), "BulkAction.result")
            except (WaitTimeoutError, BlockingCallError, RunInterrupted):  # it goes on
                over.pop_all()
                raise

    async def aio_result(self, timeout: Duration | None = None) -> BulkResult:
        """As `result`."""
        async with contextlib.AsyncExitStack() as over:
            over.push_async_callback(self.aio_close)
            try:
                return await self._result(timeout)
            except (WaitTimeoutError, asyncio.CancelledError, RunInterrupted):  # it goes on
                over.pop_all()
                raise

    def close(self) -> None:
        """Don't wait: what is under way goes on with whoever begins the next one, or with a server (`fanwood ui`)."""
        self._begun.close()

    async def aio_close(self) -> None:
        """As `close`."""
        await asyncio.to_thread(self._begun.close)

    async def _result(self, timeout: Duration | None) -> BulkResult:
        return BulkResult(*await self._begun.result(timeout))


class Bulk:
    """The methods. Every one has an `aio_` twin."""

    _host: Host

    def bulk_preview(
        self, action: BulkVerb, *, priority: int | None = None, **which: Unpack[BulkFilter]
    ) -> BulkPreview:
        """To how many runs something would be done, counted for a third of a second at most. Nothing is changed.

        Args:
            action: what: "cancel", "retry", "retry_failures", "replay", "pause", "resume", "reprioritize", "fork".
            priority: of what is reprioritized.
            which: filters, as `BulkFilter` has them; at least one.

        Raises:
            UsageError: no filter is given, or one that can't be.
            RunNotFoundError: there is no such tree, or run.
        """
        return block(self._preview(_asked_for(action, priority, which)), "runs.bulk_preview")

    async def aio_bulk_preview(
        self, action: BulkVerb, *, priority: int | None = None, **which: Unpack[BulkFilter]
    ) -> BulkPreview:
        """As `bulk_preview`."""
        return await self._preview(_asked_for(action, priority, which))

    def bulk(
        self, action: BulkVerb, *, priority: int | None = None, by: str | None = None, **which: Unpack[BulkFilter]
    ) -> BulkAction:
        """Begin to do something to all runs that are as they are asked for now; it is under way when this returns. It
        is a run, on an engine of its own in this process: should that die, whoever begins the next one goes on with it,
        or a server (`fanwood ui`), and does nothing twice.

        Args:
            action: what: "cancel", "retry", "retry_failures", "replay", "pause", "resume", "reprioritize", "fork".
            priority: of what is reprioritized.
            by: who wants it; this process (or the run whose code calls) if it is left out.
            which: filters, as `BulkFilter` has them; at least one.

        Raises:
            UsageError: no filter is given, or one that can't be.
            RunNotFoundError: there is no such tree, or run.
        """
        return block(self._bulk(_asked_for(action, priority, which), by), "runs.bulk")

    async def aio_bulk(
        self, action: BulkVerb, *, priority: int | None = None, by: str | None = None, **which: Unpack[BulkFilter]
    ) -> BulkAction:
        """As `bulk`."""
        return await self._bulk(_asked_for(action, priority, which), by)

    # --- the one implementation ------------------------------------------------------------------------------------

    async def _preview(self, about: _Asked) -> BulkPreview:
        asked, seen = await self._look(about)
        return BulkPreview(asked.action, seen.runs, seen.at_least, [run_info(run) for run in seen.sample])

    async def _look(self, about: _Asked) -> tuple[Any, Any]:
        code, host = _code(), self._host
        filter_ = about.filter(host.settings.namespace, host.engine().store.now())
        action, namespace = about.action, host.settings.namespace

        async def look(store: Any) -> tuple[Any, Any]:
            priority = None if about.priority is None else int(about.priority)  # (of a subclass, say)
            asked = code.wanted(action, namespace, await store.moment() + 1, priority, **filter_)
            if asked is None:
                raise UsageError("Say which runs: to all that there are nothing is done at once")
            if not asked.states:
                raise UsageError(f"There is nothing to {action} in the state {about.status}")
            return asked, await code.look(store, asked)

        return await asked(host.engine(), look)

    async def _bulk(self, about: _Asked, by: str | None) -> BulkAction:
        who, begun, seen = who_acts(by), list[Any](), list[str]()

        async def look(_: bytes | None) -> str:
            asked, found = await self._look(about)
            return _code().deed_text(asked, who, found.runs, at_least=found.at_least)

        async def act(key: bytes | None) -> str:
            begun.append(_code().Begun(self._host.settings))
            try:
                await begun[0].begin(seen[0], token=None if key is None else key.hex())
            except BaseException:
                await asyncio.to_thread(begun[0].close)
                raise
            return begun[0].id

        # Durable code that dies in between is to ask for just the same: what it looked up is recorded before.
        seen.append(await once("runs.bulk_preview", about.action, repr(about).encode(), look))
        id_ = await once("runs.bulk", about.action, repr(about).encode(), act)
        if not begun:  # durable code that comes here again
            begun.append(_code().Begun.before(self._host.settings, id_))
        return BulkAction(id_, begun[0])


def _asked_for(action: str, priority: int | None, which: BulkFilter) -> _Asked:
    known_only(which, BulkFilter.__annotations__, "runs.bulk")
    return _Asked(action, priority, **which)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The arguments, as they were given."""

    action: str
    priority: int | None
    task_name: str | None = None
    status: RunState | str | None = None
    since: datetime | Duration | None = None
    until: datetime | Duration | None = None
    metadata: dict[str, Any] | None = None
    all_runs: bool = False
    tree: str | None = None
    ids: Sequence[str] = ()

    def filter(self, namespace: str, now: int) -> dict[str, Any]:
        """As actions know it.

        Raises:
            UsageError: something that can't be asked for.
        """
        if self.action not in get_args(BulkVerb):
            names = ", ".join(get_args(BulkVerb))
            raise UsageError(f"There is no action {checks.shown(self.action)}; there are {names}")
        if (self.priority is None) == (self.action == "reprioritize"):
            raise UsageError("priority= is for reprioritize, which needs one")
        if self.priority is not None:
            checks.whole(self.priority, "priority")
        if isinstance(self.ids, str | bytes) or not isinstance(self.ids, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
            raise checks.refused("ids", "must be a list of ids", self.ids)
        if len(self.ids) > MOST or (self.ids and self.tree is not None):
            raise UsageError(f"ids= are {MOST:,} ids at most, and no tree= beside them")
        pairs = metadata_pairs(self.metadata)
        state = state_named(self.status)
        if self.task_name == "":
            raise UsageError("task_name is empty: name a task")
        task = None if self.task_name is None else checks.storable(self.task_name, "task_name", checks.MAX_TEXT_LENGTH)
        return {
            "task": f"{namespace}/{task}" if namespace and task else task,
            "state": None if state is None else state.name.lower(),
            "since": None if self.since is None else max(0, microseconds_of(self.since, now, "since")),
            "until": None if self.until is None else max(0, microseconds_of(self.until, now, "until")),
            "metadata": None if self.metadata is None else {name: msgspec.json.decode(value) for name, value in pairs},
            "all": checks.flag(self.all_runs, "all_runs"),
            "tree": None if self.tree is None else id_text(id_bytes(self.tree)),
            "ids": tuple(id_text(id_bytes(each)) for each in self.ids),
        }


def _code() -> Any:
    return handed("actions")
