"""What can be run: the methods that a task and a workflow have in common, and the task that stands by itself."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, Unpack, overload

from fanwood.engine.signals import block
from fanwood.errors import UsageError
from fanwood.ids import id_bytes
from fanwood.sdk.children.bulks import Bulks, patience_of
from fanwood.sdk.children.interrupted import tell_interrupted
from fanwood.sdk.children.mock_host import MockedError
from fanwood.sdk.children.owning import owning
from fanwood.sdk.children.refs import TaskRunRef, ref_for
from fanwood.sdk.children.spawning import Spawner
from fanwood.sdk.children.streams import Streams
from fanwood.sdk.declaring.items import BulkRunItem
from fanwood.sdk.declaring.options import NOT_GIVEN, MockOptions, RunOptions, TaskPolicy, TriggerWorkflowOptions, merged
from fanwood.sdk.running.infos import table, type_name
from fanwood.sdk.running.interrupting import INTERRUPTIONS
from fanwood.sdk.tasks.mock import mock_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fanwood.codec.empty import EmptyModel
    from fanwood.durations import Duration
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.tasks.tools import Tool

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")

if TYPE_CHECKING:
    Blank: TypeAlias = "Runnable[T | EmptyModel, Out] | Runnable[dict[Any, Any], Out] | Runnable[None, Out]"
    """What can be run without an input: the function takes none, has a default for it, or takes a dict or None."""

    class StartOptions(RunOptions, total=False):
        """The keywords of a call without an input."""

        options: TriggerWorkflowOptions | None

    class StartOptionsWithInput(RunOptions):
        """Those of one whose input is there."""

        options: TriggerWorkflowOptions

    class CallOptions(StartOptions, total=False):
        """As well for those who wait."""

        timeout: Duration | None

    class CallOptionsWithInput(StartOptionsWithInput, total=False):
        """As above."""

        timeout: Duration | None


class Runnable(Bulks[Out], Streams[In, Out], Generic[In, Out]):
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

    def __reduce__(self) -> str:
        """By its name in its module, as functions are, for pools of processes: the other end imports it from there."""
        return getattr(self, "__qualname__", self.name)

    def _repr_html_(self) -> str:
        spec, usual = self.spec, asdict(TaskPolicy())
        options = {name: value for name, value in asdict(spec.policy).items() if value != usual[name]}
        input_codec: Any = getattr(spec.input, "typed", spec.input)  # a workflow reads it unread
        return table(
            (
                (spec.kind, spec.name),
                ("description", options.pop("description", None)),
                ("input", type_name(input_codec.declared)),
                ("output", type_name(spec.output.declared)),
                ("steps", ", ".join(getattr(self, "steps", ())) or None),
                ("options", ", ".join(f"{name}={value!r}" for name, value in options.items()) or None),
                ("declared", spec.where or None),
            )
        )

    # --- one -------------------------------------------------------------------------------------------------------

    @overload
    def run(self: Blank[T, Out], *, wait_for_result: Literal[True] = ..., **given: Unpack[CallOptions]) -> Out: ...

    @overload
    def run(
        self: Blank[T, Out], *, wait_for_result: Literal[False], **given: Unpack[CallOptions]
    ) -> TaskRunRef[Out]: ...

    @overload
    def run(self, *, wait_for_result: Literal[True] = ..., **given: Unpack[CallOptionsWithInput]) -> Out: ...

    @overload
    def run(self, *, wait_for_result: Literal[False], **given: Unpack[CallOptionsWithInput]) -> TaskRunRef[Out]: ...

    @overload
    def run(
        self,
        input: In | Mapping[str, Any],
        options: TriggerWorkflowOptions | None = ...,
        *,
        wait_for_result: Literal[True] = ...,
        timeout: Duration | None = ...,
        **given: Unpack[RunOptions],
    ) -> Out: ...

    @overload
    def run(
        self,
        input: In | Mapping[str, Any],
        options: TriggerWorkflowOptions | None = ...,
        *,
        wait_for_result: Literal[False],
        timeout: Duration | None = ...,
        **given: Unpack[RunOptions],
    ) -> TaskRunRef[Out]: ...

    def run(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        options: TriggerWorkflowOptions | None = None,
        *,
        wait_for_result: bool = True,
        timeout: Duration | None = None,
        **given: Unpack[RunOptions],
    ) -> Out | TaskRunRef[Out]:
        """Run it and return its output; with `wait_for_result=False`, a reference as soon as the run is stored.

        Args:
            input: of the declared type, or a dict that fits it.
            options: the same as the keywords, as one object; keywords win.
            wait_for_result: whether to wait.
            timeout: how long to wait; the run itself goes on.
            given: see `RunOptions`.

        Raises:
            TaskRunError: it ended without an output; the subclasses say why.
            InputValidationError: the input doesn't fit.
            WaitTimeoutError: `timeout` ran out.
            BlockingCallError: an event loop runs on this thread; use `aio_run`.
        """
        return block(self._run(input, options, given, wait=wait_for_result, timeout=timeout), f"{self.name}.run")

    @overload
    async def aio_run(
        self: Blank[T, Out], *, wait_for_result: Literal[True] = ..., **given: Unpack[CallOptions]
    ) -> Out: ...

    @overload
    async def aio_run(
        self: Blank[T, Out], *, wait_for_result: Literal[False], **given: Unpack[CallOptions]
    ) -> TaskRunRef[Out]: ...

    @overload
    async def aio_run(self, *, wait_for_result: Literal[True] = ..., **given: Unpack[CallOptionsWithInput]) -> Out: ...

    @overload
    async def aio_run(
        self, *, wait_for_result: Literal[False], **given: Unpack[CallOptionsWithInput]
    ) -> TaskRunRef[Out]: ...

    @overload
    async def aio_run(
        self,
        input: In | Mapping[str, Any],
        options: TriggerWorkflowOptions | None = ...,
        *,
        wait_for_result: Literal[True] = ...,
        timeout: Duration | None = ...,
        **given: Unpack[RunOptions],
    ) -> Out: ...

    @overload
    async def aio_run(
        self,
        input: In | Mapping[str, Any],
        options: TriggerWorkflowOptions | None = ...,
        *,
        wait_for_result: Literal[False],
        timeout: Duration | None = ...,
        **given: Unpack[RunOptions],
    ) -> TaskRunRef[Out]: ...

    async def aio_run(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        options: TriggerWorkflowOptions | None = None,
        *,
        wait_for_result: bool = True,
        timeout: Duration | None = None,
        **given: Unpack[RunOptions],
    ) -> Out | TaskRunRef[Out]:
        """As `run`, awaited."""
        return await self._run(input, options, given, wait=wait_for_result, timeout=timeout)

    @overload
    def run_no_wait(self: Blank[T, Out], **given: Unpack[StartOptions]) -> TaskRunRef[Out]: ...

    @overload
    def run_no_wait(self, **given: Unpack[StartOptionsWithInput]) -> TaskRunRef[Out]: ...

    @overload
    def run_no_wait(
        self,
        input: In | Mapping[str, Any],
        options: TriggerWorkflowOptions | None = ...,
        **given: Unpack[RunOptions],
    ) -> TaskRunRef[Out]: ...

    def run_no_wait(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        options: TriggerWorkflowOptions | None = None,
        **given: Unpack[RunOptions],
    ) -> TaskRunRef[Out]:
        """Start it and return a reference, as soon as the run is stored."""
        return block(self._run(input, options, given, wait=False), f"{self.name}.run_no_wait")

    @overload
    async def aio_run_no_wait(self: Blank[T, Out], **given: Unpack[StartOptions]) -> TaskRunRef[Out]: ...

    @overload
    async def aio_run_no_wait(self, **given: Unpack[StartOptionsWithInput]) -> TaskRunRef[Out]: ...

    @overload
    async def aio_run_no_wait(
        self,
        input: In | Mapping[str, Any],
        options: TriggerWorkflowOptions | None = ...,
        **given: Unpack[RunOptions],
    ) -> TaskRunRef[Out]: ...

    async def aio_run_no_wait(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        options: TriggerWorkflowOptions | None = None,
        **given: Unpack[RunOptions],
    ) -> TaskRunRef[Out]:
        """As `run_no_wait`, awaited."""
        return await self._run(input, options, given, wait=False)

    async def _run(
        self,
        input_: Any,
        options: TriggerWorkflowOptions | None,
        given: RunOptions,
        *,
        wait: bool,
        timeout: Duration | None = None,
    ) -> Any:
        patience = patience_of(timeout, wait)
        item = self.asked_for(input_, merged(options, given, input_, self.name))
        spawner = None
        try:
            spawner = Spawner(self._host, wait=wait)
            if not wait:
                return self._ref((await spawner.spawn_all((item,))).id(0))
            with owning(spawner):
                await spawner.spawn_all((item,))
                await spawner.wait(patience)
        except MockedError as mock:
            return (await mock.host.answers((item,), timeout=patience))[0] if wait else await mock.host.ref(item)
        except INTERRUPTIONS as error:
            tell_interrupted(error, self.name, spawner)
            raise
        return spawner.results()[0]

    @overload
    def create_bulk_run_item(
        self: Blank[T, Out], *, key: str | None = ..., **given: Unpack[StartOptions]
    ) -> BulkRunItem[In, Out]: ...

    @overload
    def create_bulk_run_item(
        self, *, key: str | None = ..., **given: Unpack[StartOptionsWithInput]
    ) -> BulkRunItem[In, Out]: ...

    @overload
    def create_bulk_run_item(
        self,
        input: In | Mapping[str, Any],
        key: str | None = ...,
        options: TriggerWorkflowOptions | None = ...,
        **given: Unpack[RunOptions],
    ) -> BulkRunItem[In, Out]: ...

    def create_bulk_run_item(
        self,
        input: In | Mapping[str, Any] = NOT_GIVEN,
        key: str | None = None,
        options: TriggerWorkflowOptions | None = None,
        **given: Unpack[RunOptions],
    ) -> BulkRunItem[In, Out]:
        """One run of a bulk, for `run_many`. `key` and `child_key` are the same thing.

        Raises:
            UsageError: the input is given twice, or `key` and `child_key` differ.
        """
        if options is None and key is None and not given:
            return BulkRunItem(self.spec, self.spec.nothing() if input is NOT_GIVEN else input)
        merged_options = merged(options, given, input, self.name)
        if key is not None:
            merged_options = replace(merged_options, key=key)
        return self.asked_for(input, merged_options)

    def asked_for(self, input_: Any, options: TriggerWorkflowOptions) -> BulkRunItem[In, Out]:
        """A run that is asked for, by an input that may have been left out."""
        if input_ is NOT_GIVEN or (input_ is None and options.input is not NOT_GIVEN):
            input_ = options.input
        return BulkRunItem(self.spec, self.spec.nothing() if input_ is NOT_GIVEN else input_, options)

    def as_tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        max_characters: int = 50_000,
        **options: Unpack[RunOptions],
    ) -> Tool:
        """It as a tool of a language model: a name, a description, the schema of its arguments. See `Tool`, and `Tools`
        for several.

        Args:
            name: what the model calls it. Default: the task's, without what models don't take.
            description: default: the task's.
            max_characters: of an answer; a longer one is cut, and says so.
            options: of each run that a call makes, but for keys.

        Raises:
            UsageError: an option that can't be.
        """
        from fanwood.sdk.tasks.tools import Tool  # noqa: PLC0415  (few processes have agents)

        return Tool(self, self._host, name, description, max_characters, options)

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

    def __init__(self, host: Host, spec: TaskSpec, function: Callable[..., Any] | None = None) -> None:
        self._host = host
        self.spec = spec
        functools.update_wrapper(self, function or spec.function, updated=())  # its name, its text, its signature

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

    @overload
    def mock_run(self: Blank[T, Out], **given: Unpack[MockOptions]) -> Out: ...

    @overload
    def mock_run(self, input: In | Mapping[str, Any], **given: Unpack[MockOptions]) -> Out: ...

    def mock_run(self, input: In | Mapping[str, Any] = NOT_GIVEN, **given: Unpack[MockOptions]) -> Out:
        """Call the bare function (a sync one) with a fake context, for unit tests: no store, no worker; `children` says
        what its children return. See `MockOptions`.

        Raises:
            UsageError: it runs a child that nothing stands in for, or asks the store for something.
        """
        if self.spec.is_async:
            raise UsageError(f"{self.name} is async: use `await {self.name}.aio_mock_run(...)`")
        return mock_call(self._host, self.spec, input, given)

    @overload
    async def aio_mock_run(self: Blank[T, Out], **given: Unpack[MockOptions]) -> Out: ...

    @overload
    async def aio_mock_run(self, input: In | Mapping[str, Any], **given: Unpack[MockOptions]) -> Out: ...

    async def aio_mock_run(self, input: In | Mapping[str, Any] = NOT_GIVEN, **given: Unpack[MockOptions]) -> Out:
        """As `mock_run`, for async and sync functions."""
        result: Any = mock_call(self._host, self.spec, input, given)
        return await result if self.spec.is_async else result
