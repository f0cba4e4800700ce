"""Tasks, workflows and references, with the keywords and members that go by other names there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, cast, overload

from fanwood.hatchet.context import Context, handed
from fanwood.sdk.children import refs
from fanwood.sdk.declaring.options import NOT_GIVEN
from fanwood.sdk.tasks import task, workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from typing_extensions import TypeAliasType

    from fanwood.durations import Duration
    from fanwood.hatchet.runs import HatchetRuns, RunRow
    from fanwood.sdk.declaring import step
    from fanwood.sdk.declaring.items import BulkRunItem
    from fanwood.sdk.declaring.options import TaskPolicy
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.running.unloading import EvictionPolicy

In = TypeVar("In")
Out = TypeVar("Out")
Outs_co = TypeVar("Outs_co", covariant=True)
Some_co = TypeVar("Some_co", covariant=True)
Refs_co = TypeVar("Refs_co", covariant=True)


def handed_spec(spec: TaskSpec) -> TaskSpec:
    """With a function that gets these contexts, if it asks for one."""
    return replace(spec, function=handed(spec.function)) if spec.arity > 1 else spec


class RunMany(Protocol[Outs_co, Some_co, Refs_co]):
    """`run_many` and its twin, for type checkers: outputs, outputs and errors, or references."""

    @overload
    def __call__(
        self,
        workflows: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: Literal[False] = ...,
        wait_for_result: Literal[True] = ...,
        timeout: Duration | None = ...,
    ) -> Outs_co: ...

    @overload
    def __call__(
        self,
        workflows: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: Literal[True],
        wait_for_result: Literal[True] = ...,
        timeout: Duration | None = ...,
    ) -> Some_co: ...

    @overload
    def __call__(
        self,
        workflows: Iterable[BulkRunItem[Any, Any]],
        *,
        return_exceptions: bool = ...,
        wait_for_result: Literal[False],
        timeout: Duration | None = ...,
    ) -> Refs_co: ...


class StartMany(Protocol[Refs_co]):
    """`run_many_no_wait` and its twin, for type checkers."""

    def __call__(self, workflows: Iterable[BulkRunItem[Any, Any]]) -> Refs_co: ...


class _Names(task.Runnable[In, Out]):
    """What tasks and workflows have in common."""

    @property
    def id(self) -> str:
        """What `workflow_ids=` takes: the name."""
        return self.name

    if TYPE_CHECKING:
        run_many: RunMany[list[Out], list[Out | BaseException], list[refs.TaskRunRef[Out]]]  # pyright: ignore[reportIncompatibleMethodOverride]
        aio_run_many: RunMany[  # pyright: ignore[reportIncompatibleMethodOverride]
            Coroutine[Any, Any, list[Out]],
            Coroutine[Any, Any, list[Out | BaseException]],
            Coroutine[Any, Any, list[refs.TaskRunRef[Out]]],
        ]
        run_many_no_wait: StartMany[list[refs.TaskRunRef[Out]]]  # pyright: ignore[reportIncompatibleMethodOverride]
        aio_run_many_no_wait: StartMany[Coroutine[Any, Any, list[refs.TaskRunRef[Out]]]]  # pyright: ignore[reportIncompatibleMethodOverride]

    else:

        def run_many(self, workflows: Iterable[Any], **how: Any) -> Any:
            """As Fanwood's, where they are `items`."""
            return super().run_many(workflows, **how)

        async def aio_run_many(self, workflows: Iterable[Any], **how: Any) -> Any:
            """As `run_many`."""
            return await super().aio_run_many(workflows, **how)

        def run_many_no_wait(self, workflows: Iterable[Any]) -> Any:
            """As Fanwood's."""
            return super().run_many_no_wait(workflows)

        async def aio_run_many_no_wait(self, workflows: Iterable[Any]) -> Any:
            """As `run_many_no_wait`."""
            return await super().aio_run_many_no_wait(workflows)

    def list_runs(self, **filters: Any) -> list[RunRow]:
        """Its runs; the keywords are those of `runs.list`."""
        return self._runs.list(workflow_ids=[self.id], **filters).rows

    async def aio_list_runs(self, **filters: Any) -> list[RunRow]:
        """As `list_runs`."""
        return (await self._runs.aio_list(workflow_ids=[self.id], **filters)).rows

    @property
    def _runs(self) -> HatchetRuns:
        return cast("Any", self._host).runs


class Standalone(_Names[In, Out], task.Standalone[In, Out]):
    """A task that stands by itself."""

    @classmethod
    def of(cls, other: task.Standalone[In, Out]) -> Standalone[In, Out]:
        """The same task, as one of these."""
        return cls(other._host, handed_spec(other.spec), other.spec.function)  # noqa: SLF001  (of its base)

    def get_result(self, run_id: str) -> Out:
        """The result of an earlier run; this waits until it has ended."""
        return self.get_run_ref(run_id).result()

    async def aio_get_result(self, run_id: str) -> Out:
        """As `get_result`."""
        return await self.get_run_ref(run_id).aio_result()

    def mock_run(self, input: Any = NOT_GIVEN, *, parent_outputs: object = None, **how: Any) -> Out:  # noqa: ARG002  (it has none)
        """As Fanwood's."""
        return super().mock_run(input, **how)

    async def aio_mock_run(self, input: Any = NOT_GIVEN, *, parent_outputs: object = None, **how: Any) -> Out:  # noqa: ARG002  (as above)
        """As Fanwood's."""
        return await super().aio_mock_run(input, **how)


class Workflow(_Names[In, dict[str, Any]], workflow.Workflow[In]):
    """Several tasks that form a DAG."""

    @classmethod
    def of(cls, other: workflow.Workflow[In]) -> Workflow[In]:
        """The same workflow, without steps yet, as one of these."""
        return cls(other._host, other.spec, other._defaults)  # noqa: SLF001  (of its base)

    def _step(
        self,
        name: str,
        function: Callable[..., Any],
        policy: TaskPolicy,
        parents: tuple[str, ...],
        durable: EvictionPolicy | None = None,
    ) -> step.Step[In, Any]:
        made = super()._step(name, function, policy, parents, durable)
        made.spec = handed_spec(made.spec)
        return made


class InferringDecorator(Protocol):
    """What `task(...)` returns without an `input_validator`."""

    @overload
    def __call__(self, function: Callable[[In, Context], Coroutine[Any, Any, Out]], /) -> Standalone[In, Out]: ...

    @overload
    def __call__(self, function: Callable[[In, Context], Out], /) -> Standalone[In, Out]: ...

    @overload
    def __call__(self, function: Callable[..., Any], /) -> Standalone[Any, Any]: ...


class TaskDecorator(Protocol[In]):
    """What `task(input_validator=...)` returns."""

    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, Out]], /) -> Standalone[In, Out]: ...

    @overload
    def __call__(self, function: Callable[..., Out], /) -> Standalone[In, Out]: ...


if TYPE_CHECKING:
    TaskRunRef = TypeAliasType("TaskRunRef", refs.TaskRunRef[Out], type_params=(In, Out))
else:

    class _Ref(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, refs.TaskRunRef)

    class TaskRunRef(Generic[In, Out], metaclass=_Ref):
        """`TaskRunRef[In, Out]`, for annotations: Fanwood's own has the output's type only."""
