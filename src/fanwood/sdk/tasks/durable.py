"""Declaring durable tasks: such as may be unloaded while they wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from fanwood import checks
from fanwood.errors import SettingsError
from fanwood.sdk.declaring.options import TaskOptions, TaskPolicy
from fanwood.sdk.running.unloading import EvictionPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fanwood.codec.empty import EmptyModel
    from fanwood.sdk.declaring.versions import Versions
    from fanwood.sdk.tasks.decorators import AsyncFunction, Defaulted, InferringDecorator, SyncFunction, TaskDecorator
    from fanwood.sdk.tasks.task import Standalone

In = TypeVar("In")
Out = TypeVar("Out")


def eviction(given: EvictionPolicy | None) -> EvictionPolicy:
    """What was given, or the default.

    Raises:
        SettingsError: it is none.
    """
    if given is not None and not isinstance(given, EvictionPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise checks.refused("eviction_policy", "must be an EvictionPolicy", given, SettingsError)
    return EvictionPolicy() if given is None else given


class Durable:
    """What `Fanwood` objects have for durable tasks."""

    @overload
    def durable_task(  # pyright: ignore[reportOverlappingOverload]  # what can be called with an input, and without
        self, function: Defaulted[In, Coroutine[Any, Any, Out]], /
    ) -> Standalone[In | EmptyModel, Out]: ...

    @overload
    def durable_task(self, function: AsyncFunction[In, Out], /) -> Standalone[In, Out]: ...

    @overload
    def durable_task(self, function: Callable[[], Coroutine[Any, Any, Out]], /) -> Standalone[EmptyModel, Out]: ...

    @overload
    def durable_task(self, function: Defaulted[In, Out], /) -> Standalone[In | EmptyModel, Out]: ...

    @overload
    def durable_task(self, function: SyncFunction[In, Out], /) -> Standalone[In, Out]: ...

    @overload
    def durable_task(self, function: Callable[[], Out], /) -> Standalone[EmptyModel, Out]: ...

    @overload
    def durable_task(
        self,
        /,
        *,
        name: str | None = ...,
        input_validator: Callable[[], In],
        eviction_policy: EvictionPolicy | None = ...,
        strict: bool = ...,
        versions: Versions | None = ...,
        **options: Unpack[TaskOptions],
    ) -> TaskDecorator[In | EmptyModel]: ...

    @overload
    def durable_task(  # pyright: ignore[reportOverlappingOverload]  # a class that needs arguments is none of those before
        self,
        /,
        *,
        name: str | None = ...,
        input_validator: type[In],
        eviction_policy: EvictionPolicy | None = ...,
        strict: bool = ...,
        versions: Versions | None = ...,
        **options: Unpack[TaskOptions],
    ) -> TaskDecorator[In]: ...

    @overload
    def durable_task(
        self,
        /,
        *,
        name: str | None = ...,
        eviction_policy: EvictionPolicy | None = ...,
        strict: bool = ...,
        versions: Versions | None = ...,
        **options: Unpack[TaskOptions],
    ) -> InferringDecorator: ...

    def durable_task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        input_validator: Any = None,
        eviction_policy: EvictionPolicy | None = None,
        strict: bool = False,
        versions: Versions | None = None,
        **options: Unpack[TaskOptions],
    ) -> Any:
        """Declare a task whose code is unloaded while it waits: it holds nothing then but rows, and is run from the top
        when it goes on, where it finds its children, steps and sleeps as they are. With or without arguments.

        Args:
            function: the function, where the decorator is used without arguments.
            name: default: the function's.
            input_validator: the input's type; default: the annotation's.
            eviction_policy: when it is unloaded.
            strict: its code must ask again for all that it had asked for; a run of other code fails with a
                `NonDeterminismError`. Two looks at the store more for each time that it goes on.
            versions: by its `version`, the function of older code: runs go on with what they began with. For None:
                runs of code that had no version; None for a function: this one, which looks at `ctx.version`. A run of
                what is not here, nor the present version, waits for a worker that has it.
            options: see `TaskOptions`.

        Raises:
            DuplicateTaskError: there is one of that name. (In a notebook the new one replaces it.)
            DeclarationError: the function takes something else, or its input's type can't travel.
            SettingsError: a value of an option that can't be.
        """
        policy = TaskPolicy.of(options, TaskOptions.__annotations__, "durable_task()")
        durable, strict = eviction(eviction_policy), checks.flag(strict, "strict")

        def declare(function: Callable[..., Any]) -> Standalone[Any, Any]:
            return self._declare(
                function, name, input_validator, policy, options.get("description"), durable, strict=strict,
                versions=versions,
            )  # fmt: skip

        return declare if function is None else declare(function)

    def _declare(
        self,
        function: Callable[..., Any],
        name: str | None,
        input_validator: Any,
        policy: TaskPolicy,
        description: str | None,
        durable: EvictionPolicy | None = None,
        *,
        strict: bool = False,
        versions: Versions | None = None,
    ) -> Standalone[Any, Any]:
        raise NotImplementedError
