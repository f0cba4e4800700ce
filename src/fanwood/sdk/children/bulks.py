"""Bulks: many runs by one call."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from fanwood import checks
from fanwood.engine.signals import block
from fanwood.sdk.children.interrupted import tell_interrupted
from fanwood.sdk.children.mock_host import MockedError
from fanwood.sdk.children.owning import owning
from fanwood.sdk.children.refs import TaskRunRef, refs_for
from fanwood.sdk.children.spawning import Spawner
from fanwood.sdk.declaring.items import BulkRunItem
from fanwood.sdk.running.interrupting import INTERRUPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fanwood.durations import Duration
    from fanwood.sdk.declaring.host import Host

Out = TypeVar("Out")


def patience_of(timeout: Duration | None, wait: bool) -> float | None:  # noqa: FBT001  (of one call, passed on)
    """How long to wait, in seconds; asked before anything is spawned."""
    checks.flag(wait, "wait_for_result")
    return checks.waiting(timeout)


def _checked(items: Any, name: str) -> Iterator[BulkRunItem[Any, Any]]:
    """The items of a bulk, one by one.

    Raises:
        UsageError: there is something else among them.
    """
    make = f"make them with {name}.create_bulk_run_item(...)"
    if isinstance(items, BulkRunItem) or not isinstance(items, Iterable):
        how = "of an async generator make a list first; " if isinstance(items, AsyncIterable) else ""
        raise checks.refused("items", f"must be a list, or something to iterate over, of items ({how}{make})", items)
    for number, item in enumerate(cast("Iterable[Any]", items)):
        if not isinstance(item, BulkRunItem):
            raise checks.refused(f"items[{number}]", f"must be an item ({make})", item)
        yield item


class Bulks(Generic[Out]):
    """The methods of a task or workflow that make many runs."""

    _host: Host

    @property
    def name(self) -> str:
        """The name under which runs of it are stored."""
        raise NotImplementedError

    @overload
    def run_many(
        self,
        items: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: Literal[False] = ...,
        wait_for_result: Literal[True] = ...,
        timeout: Duration | None = ...,
    ) -> list[Out]: ...

    @overload
    def run_many(
        self,
        items: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: Literal[True],
        wait_for_result: Literal[True] = ...,
        timeout: Duration | None = ...,
    ) -> list[Out | BaseException]: ...

    @overload
    def run_many(
        self,
        items: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: bool = ...,
        wait_for_result: Literal[False],
        timeout: Duration | None = ...,
    ) -> list[TaskRunRef[Out]]: ...

    def run_many(
        self,
        items: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: bool = False,
        wait_for_result: bool = True,
        timeout: Duration | None = None,
    ) -> Any:
        """Run a bulk of any size; the outputs in the items' order.

        Args:
            items: made by `create_bulk_run_item`, of this task or others; any iterable, consumed as fast as the store
                takes them.
            return_exceptions: put errors in their places in the list. Without it the first failure raises, and the
                others go on.
            wait_for_result: False returns references instead.
            timeout: how long to wait; the runs themselves go on.

        Raises:
            TaskRunError: one of them ended without an output, and `return_exceptions` is False.
            WaitTimeoutError: `timeout` ran out.
        """
        return block(
            self._run_many(items, keep_errors=return_exceptions, wait=wait_for_result, timeout=timeout),
            f"{self.name}.run_many",
        )

    @overload
    async def aio_run_many(
        self,
        items: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: Literal[False] = ...,
        wait_for_result: Literal[True] = ...,
        timeout: Duration | None = ...,
    ) -> list[Out]: ...

    @overload
    async def aio_run_many(
        self,
        items: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: Literal[True],
        wait_for_result: Literal[True] = ...,
        timeout: Duration | None = ...,
    ) -> list[Out | BaseException]: ...

    @overload
    async def aio_run_many(
        self,
        items: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: bool = ...,
        wait_for_result: Literal[False],
        timeout: Duration | None = ...,
    ) -> list[TaskRunRef[Out]]: ...

    async def aio_run_many(
        self,
        items: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: bool = False,
        wait_for_result: bool = True,
        timeout: Duration | None = None,
    ) -> Any:
        """As `run_many`, awaited."""
        return await self._run_many(items, keep_errors=return_exceptions, wait=wait_for_result, timeout=timeout)

    def run_many_no_wait(self, items: Iterable[BulkRunItem[Any, Any]]) -> list[TaskRunRef[Out]]:
        """Start a bulk; references, as soon as all runs are stored."""
        return block(self._run_many(items, wait=False), f"{self.name}.run_many_no_wait")

    async def aio_run_many_no_wait(self, items: Iterable[BulkRunItem[Any, Any]]) -> list[TaskRunRef[Out]]:
        """As `run_many_no_wait`, awaited."""
        return await self._run_many(items, wait=False)

    async def _run_many(
        self,
        items: Iterable[BulkRunItem[Any, Any]],
        *,
        wait: bool,
        keep_errors: bool = False,
        timeout: Duration | None = None,
    ) -> Any:
        patience = patience_of(timeout, wait)
        checks.flag(keep_errors, "return_exceptions")
        spawner = None
        try:
            spawner = Spawner(self._host, wait=wait, fail_fast=not keep_errors)
            if not wait:
                return refs_for(self._host, await spawner.spawn_all(_checked(items, self.name)))
            with owning(spawner):
                await spawner.spawn_all(_checked(items, self.name))
                await spawner.wait(patience)
        except MockedError as mock:
            asked = list(_checked(items, self.name))
            if not wait:
                return [await mock.host.ref(item) for item in asked]
            return await mock.host.answers(asked, keep_errors=keep_errors, timeout=patience)
        except INTERRUPTIONS as error:
            tell_interrupted(error, self.name, spawner)
            raise
        return spawner.results(keep_errors=keep_errors)
