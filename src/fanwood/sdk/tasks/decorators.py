"""What a decorator makes of a function, for type checkers: a task's input and output come from the function's own
annotations. An unannotated one gives Any."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from fanwood.sdk.tasks.context import Context

if TYPE_CHECKING:
    from fanwood.codec.empty import EmptyModel
    from fanwood.sdk.declaring.step import Step
    from fanwood.sdk.tasks.task import Standalone

In = TypeVar("In")
Out = TypeVar("Out")
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)

AsyncFunction = Callable[[In, Context], Coroutine[Any, Any, Out]] | Callable[[In], Coroutine[Any, Any, Out]]
SyncFunction = Callable[[In, Context], Out] | Callable[[In], Out]


class Defaulted(Protocol[In_contra, Out_co]):
    """A function whose input has a default."""

    def __call__(self, input: In_contra = ..., /) -> Out_co: ...


class TaskDecorator(Protocol[In]):
    """What `task(input_validator=...)` returns. (Can it be called without an input? Then it can be run without one.)"""

    @overload
    def __call__(self, function: Callable[[], Coroutine[Any, Any, Out]], /) -> Standalone[In | EmptyModel, Out]: ...

    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, Out]], /) -> Standalone[In, Out]: ...

    @overload
    def __call__(self, function: Callable[[], Out], /) -> Standalone[In | EmptyModel, Out]: ...

    @overload
    def __call__(self, function: Callable[..., Out], /) -> Standalone[In, Out]: ...


class InferringDecorator(Protocol):
    """What `task(...)` returns without one."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]  # what can be called with an input, and without
        self, function: Defaulted[In, Coroutine[Any, Any, Out]], /
    ) -> Standalone[In | EmptyModel, Out]: ...

    @overload
    def __call__(self, function: AsyncFunction[In, Out], /) -> Standalone[In, Out]: ...

    @overload
    def __call__(self, function: Callable[[], Coroutine[Any, Any, Out]], /) -> Standalone[EmptyModel, Out]: ...

    @overload
    def __call__(self, function: Defaulted[In, Out], /) -> Standalone[In | EmptyModel, Out]: ...

    @overload
    def __call__(self, function: SyncFunction[In, Out], /) -> Standalone[In, Out]: ...

    @overload
    def __call__(self, function: Callable[[], Out], /) -> Standalone[EmptyModel, Out]: ...


class StepDecorator(Protocol[In]):
    """What `Workflow.task(...)` returns."""

    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, Out]], /) -> Step[In, Out]: ...

    @overload
    def __call__(self, function: Callable[..., Out], /) -> Step[In, Out]: ...
