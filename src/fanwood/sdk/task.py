"""What can be run: the methods that a task and a workflow have in common, and the task that stands by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from fanwood.engine.signals import block
from fanwood.errors import UsageError
from fanwood.ids import id_bytes
from fanwood.sdk.items import BulkRunItem
from fanwood.sdk.mock import mock_call
from fanwood.sdk.options import NOT_GIVEN, EmptyModel, TriggerWorkflowOptions, given_options, merged
from fanwood.sdk.refs import TaskRunRef, ref_for
from fanwood.sdk.spawning import Spawner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from fanwood.sdk.host import Host
    from fanwood.sdk.options import Metadata, OnParentEndOption
    from fanwood.sdk.spec import TaskSpec

In = TypeVar("In")
Out = TypeVar("Out")


class Runnable(Generic[In, Out]):
    """A task or a workflow: something that `run` and its siblings make runs of.

    Called inside a running task these spawn children of it, outside they spawn roots. Every blocking method has a
    twin with `aio_` in front, for coroutines.
    """

    spec: TaskSpec
    _host: Host

    @property
    def name(self) -> str:
        """The name under which runs of it are stored."""
        return self.spec.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    # --- one -------------------------------------------------------------------------------------------------------

    @overload
    def run(
        self,
        input: In | Mapping[str, Any] = ...,
        options: TriggerWorkflowOptions | None = ...,
        *,
        wait_for_result: Literal[True] = ...,
        child_key: str | None = ...,
        idempotency_key: str | None = ...,
        additional_metadata: Metadata | None = ...,
        priority: int | None = ...,
        detached: bool = ...,
        on_parent_end: OnParentEndOption | None = ...,
        timeout: float | None = ...,
    ) -> Out: ...

    @overload
    def run(
        self,
        input: In | Mapping[str, Any] = ...,
        options: TriggerWorkflowOptions | None = ...,
        *,
        wait_for_result: Literal[False],
        child_key: str | None = ...,
        idempotency_key: str | None = ...,
        additional_metadata: Metadata | None = ...,
        priority: int | None = ...,
        detached: bool = ...,
        on_parent_end: OnParentEndOption | None = ...,
        timeout: float | None = ...,
    ) -> TaskRunRef[Out]: ...

    def run(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        options: TriggerWorkflowOptions | None = None,
        *,
        wait_for_result: bool = True,
        child_key: str | None = None,
        idempotency_key: str | None = None,
        additional_metadata: Metadata | None = None,
        priority: int | None = None,
        detached: bool = False,
        on_parent_end: OnParentEndOption | None = None,
        timeout: float | None = None,
    ) -> Out | TaskRunRef[Out]:
        """Run it and return its output; with `wait_for_result=False`, a reference as soon as the run is stored.

        Args:
            input: of the declared type, or a dict that fits it.
            options: the same as the keywords, as one object; keywords win.
            wait_for_result: whether to wait.
            child_key: this child's key, unique below its parent. Default: by content.
            idempotency_key: this root's key, unique in the namespace: whoever gives it again gets the run that has it.
            additional_metadata: JSON that the run and its descendants carry.
            priority: higher goes first. Default: the task's.
            detached: inside a task, make a root all the same.
            on_parent_end: "cancel" or "continue", whatever the parent's end.
            timeout: seconds to wait; the run itself goes on.

        Raises:
            TaskRunError: it ended without an output; the subclasses say why.
            InputValidationError: the input doesn't fit.
            WaitTimeoutError: `timeout` ran out.
            BlockingCallError: an event loop runs on this thread; use `aio_run`.
        """
        given = given_options(child_key, idempotency_key, additional_metadata, priority, detached, on_parent_end)
        return block(self._run(input, options, given, wait=wait_for_result, timeout=timeout), f"{self.name}.run")

    @overload
    async def aio_run(
        self,
        input: In | Mapping[str, Any] = ...,
        options: TriggerWorkflowOptions | None = ...,
        *,
        wait_for_result: Literal[True] = ...,
        child_key: str | None = ...,
        idempotency_key: str | None = ...,
        additional_metadata: Metadata | None = ...,
        priority: int | None = ...,
        detached: bool = ...,
        on_parent_end: OnParentEndOption | None = ...,
        timeout: float | None = ...,
    ) -> Out: ...

    @overload
    async def aio_run(
        self,
        input: In | Mapping[str, Any] = ...,
        options: TriggerWorkflowOptions | None = ...,
        *,
        wait_for_result: Literal[False],
        child_key: str | None = ...,
        idempotency_key: str | None = ...,
        additional_metadata: Metadata | None = ...,
        priority: int | None = ...,
        detached: bool = ...,
        on_parent_end: OnParentEndOption | None = ...,
        timeout: float | None = ...,
    ) -> TaskRunRef[Out]: ...

    async def aio_run(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        options: TriggerWorkflowOptions | None = None,
        *,
        wait_for_result: bool = True,
        child_key: str | None = None,
        idempotency_key: str | None = None,
        additional_metadata: Metadata | None = None,
        priority: int | None = None,
        detached: bool = False,
        on_parent_end: OnParentEndOption | None = None,
        timeout: float | None = None,
    ) -> Out | TaskRunRef[Out]:
        """As `run`, awaited."""
        given = given_options(child_key, idempotency_key, additional_metadata, priority, detached, on_parent_end)
        return await self._run(input, options, given, wait=wait_for_result, timeout=timeout)

    def run_no_wait(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        options: TriggerWorkflowOptions | None = None,
        *,
        child_key: str | None = None,
        idempotency_key: str | None = None,
        additional_metadata: Metadata | None = None,
        priority: int | None = None,
        detached: bool = False,
        on_parent_end: OnParentEndOption | None = None,
    ) -> TaskRunRef[Out]:
        """Start it and return a reference, as soon as the run is stored."""
        given = given_options(child_key, idempotency_key, additional_metadata, priority, detached, on_parent_end)
        return block(self._run(input, options, given, wait=False), f"{self.name}.run_no_wait")

    async def aio_run_no_wait(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        options: TriggerWorkflowOptions | None = None,
        *,
        child_key: str | None = None,
        idempotency_key: str | None = None,
        additional_metadata: Metadata | None = None,
        priority: int | None = None,
        detached: bool = False,
        on_parent_end: OnParentEndOption | None = None,
    ) -> TaskRunRef[Out]:
        """As `run_no_wait`, awaited."""
        given = given_options(child_key, idempotency_key, additional_metadata, priority, detached, on_parent_end)
        return await self._run(input, options, given, wait=False)

    async def _run(
        self,
        input_: Any,
        options: TriggerWorkflowOptions | None,
        given: dict[str, Any],
        *,
        wait: bool,
        timeout: float | None = None,
    ) -> Any:
        item = self._item(input_, merged(options, given, input_))
        spawner = Spawner(self._host, wait=wait)
        planned = await spawner.spawn_all((item,))
        if not wait:
            return self._ref(planned[0].id)
        await spawner.wait(timeout)
        return spawner.results()[0]

    # --- many ------------------------------------------------------------------------------------------------------

    @overload
    def run_many(
        self,
        items: Iterable[BulkRunItem],
        *,
        return_exceptions: Literal[False] = ...,
        wait_for_result: Literal[True] = ...,
        timeout: float | None = ...,
    ) -> list[Out]: ...

    @overload
    def run_many(
        self,
        items: Iterable[BulkRunItem],
        *,
        return_exceptions: Literal[True],
        wait_for_result: Literal[True] = ...,
        timeout: float | None = ...,
    ) -> list[Out | BaseException]: ...

    @overload
    def run_many(
        self,
        items: Iterable[BulkRunItem],
        *,
        return_exceptions: bool = ...,
        wait_for_result: Literal[False],
        timeout: float | None = ...,
    ) -> list[TaskRunRef[Out]]: ...

    def run_many(
        self,
        items: Iterable[BulkRunItem],
        *,
        return_exceptions: bool = False,
        wait_for_result: bool = True,
        timeout: float | None = None,
    ) -> Any:
        """Run a bulk of any size; the outputs in the items' order.

        Args:
            items: made by `create_bulk_run_item`, of this task or others; any iterable, consumed as fast as the store
                takes them.
            return_exceptions: put errors in their places in the list. Without it the first failure raises, and the
                others go on.
            wait_for_result: False returns references instead.
            timeout: seconds to wait; the runs themselves go on.

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
        items: Iterable[BulkRunItem],
        *,
        return_exceptions: Literal[False] = ...,
        wait_for_result: Literal[True] = ...,
        timeout: float | None = ...,
    ) -> list[Out]: ...

    @overload
    async def aio_run_many(
        self,
        items: Iterable[BulkRunItem],
        *,
        return_exceptions: Literal[True],
        wait_for_result: Literal[True] = ...,
        timeout: float | None = ...,
    ) -> list[Out | BaseException]: ...

    @overload
    async def aio_run_many(
        self,
        items: Iterable[BulkRunItem],
        *,
        return_exceptions: bool = ...,
        wait_for_result: Literal[False],
        timeout: float | None = ...,
    ) -> list[TaskRunRef[Out]]: ...

    async def aio_run_many(
        self,
        items: Iterable[BulkRunItem],
        *,
        return_exceptions: bool = False,
        wait_for_result: bool = True,
        timeout: float | None = None,
    ) -> Any:
        """As `run_many`, awaited."""
        return await self._run_many(items, keep_errors=return_exceptions, wait=wait_for_result, timeout=timeout)

    def run_many_no_wait(self, items: Iterable[BulkRunItem]) -> list[TaskRunRef[Out]]:
        """Start a bulk; references, as soon as all runs are stored."""
        return block(self._run_many(items, wait=False), f"{self.name}.run_many_no_wait")

    async def aio_run_many_no_wait(self, items: Iterable[BulkRunItem]) -> list[TaskRunRef[Out]]:
        """As `run_many_no_wait`, awaited."""
        return await self._run_many(items, wait=False)

    async def _run_many(
        self,
        items: Iterable[BulkRunItem],
        *,
        wait: bool,
        keep_errors: bool = False,
        timeout: float | None = None,
    ) -> Any:
        spawner = Spawner(self._host, wait=wait, fail_fast=not keep_errors)
        planned = await spawner.spawn_all(items)
        if not wait:
            return [ref_for(self._host, p.id, p.spec) for p in planned]
        await spawner.wait(timeout)
        return spawner.results(keep_errors=keep_errors)

    def create_bulk_run_item(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        key: str | None = None,
        options: TriggerWorkflowOptions | None = None,
        *,
        child_key: str | None = None,
        idempotency_key: str | None = None,
        additional_metadata: Metadata | None = None,
        priority: int | None = None,
        detached: bool = False,
        on_parent_end: OnParentEndOption | None = None,
    ) -> BulkRunItem:
        """One run of a bulk, for `run_many`. `key` and `child_key` are the same thing.

        Raises:
            UsageError: the input is given twice, or `key` and `child_key` differ.
        """
        plain = options is None and key is None and child_key is None and idempotency_key is None
        if plain and additional_metadata is None and priority is None and not detached and on_parent_end is None:
            return BulkRunItem(self.spec, EmptyModel() if input is NOT_GIVEN else input)
        given = given_options(child_key, idempotency_key, additional_metadata, priority, detached, on_parent_end)
        if key is not None:
            given["key"] = key
        return self._item(input, merged(options, given, input))

    def _item(self, input_: Any, options: TriggerWorkflowOptions) -> BulkRunItem:
        if input_ is NOT_GIVEN or (input_ is None and options.input is not NOT_GIVEN):
            input_ = options.input
        return BulkRunItem(self.spec, EmptyModel() if input_ is NOT_GIVEN else input_, options)

    # --- references ------------------------------------------------------------------------------------------------

    def _ref(self, run_id: bytes) -> TaskRunRef[Out]:
        return ref_for(self._host, run_id, self.spec)

    def get_run_ref(self, run_id: str) -> TaskRunRef[Out]:
        """A reference to a run of this, rebuilt from its id.

        Raises:
            RunNotFoundError: that is no run id. (Whether there is such a run is seen when it is asked for.)
        """
        return self._ref(id_bytes(run_id))


class Standalone(Runnable[In, Out]):
    """A task that stands by itself; made by `@fanwood.task`."""

    def __init__(self, host: Host, spec: TaskSpec) -> None:
        self._host = host
        self.spec = spec

    @property
    def is_async_function(self) -> bool:
        """Whether the function is a coroutine function."""
        return self.spec.is_async

    @property
    def fn(self) -> Callable[..., Out | Awaitable[Out]]:
        """The bare function."""
        return self.spec.function

    def __call__(self, *_: object, **__: object) -> None:
        raise UsageError(
            f"{self.name} is a task: {self.name}.run(...) runs it durably, {self.name}.mock_run(...) calls the bare "
            f"function with a fake context, for unit tests."
        )

    def mock_run(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        *,
        additional_metadata: Metadata | None = None,
        retry_count: int = 0,
        lifespan: object = None,
    ) -> Out:
        """Call the bare function (a sync one) with a fake context: no store, no worker. For unit tests."""
        if self.spec.is_async:
            raise UsageError(f"{self.name} is async: use `await {self.name}.aio_mock_run(...)`")
        return mock_call(self._host, self.spec, input, additional_metadata, retry_count, lifespan)

    async def aio_mock_run(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        *,
        additional_metadata: Metadata | None = None,
        retry_count: int = 0,
        lifespan: object = None,
    ) -> Out:
        """As `mock_run`, for async and sync functions."""
        result: Any = mock_call(self._host, self.spec, input, additional_metadata, retry_count, lifespan)
        return await result if self.spec.is_async else result
