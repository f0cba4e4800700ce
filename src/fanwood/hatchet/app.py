"""`Hatchet`: a `Fanwood` whose tasks, contexts and runs have those names."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Unpack, overload

from fanwood.app import NO_INPUT, Fanwood
from fanwood.hatchet.context import Context
from fanwood.hatchet.runnables import InferringDecorator, Standalone, TaskDecorator, Workflow
from fanwood.hatchet.runs import HatchetRuns
from fanwood.sdk.declaring.options import TaskOptions, TaskPolicy, WorkflowOptions
from fanwood.sdk.running.current import current_attempt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.sdk.running.unloading import EvictionPolicy
    from fanwood.sdk.tasks.task import Runnable
    from fanwood.worker.worker import Lifespan, Worker

In = TypeVar("In")

TaskDefaults: TypeAlias = TaskPolicy


class Priority(IntEnum):
    """Higher goes first."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Hatchet(Fanwood):
    """As `Fanwood`. `debug` is accepted, and has no effect: that is for the program's own logging."""

    def __init__(self, debug: bool = False, *, url: str | None = None, **settings: Any) -> None:  # noqa: ARG002, FBT001, FBT002  (theirs)
        super().__init__(url, **settings)
        self.runs: HatchetRuns = HatchetRuns(self)

    if TYPE_CHECKING:

        @overload
        def task(
            self, *, name: str | None = ..., input_validator: type[In], **options: Unpack[TaskOptions]
        ) -> TaskDecorator[In]: ...

        @overload
        def task(self, *, name: str | None = ..., **options: Unpack[TaskOptions]) -> InferringDecorator: ...

        def task(self, **_: Any) -> Any: ...  # pyright: ignore[reportIncompatibleMethodOverride]  # never a bare one

        @overload
        def durable_task(
            self,
            *,
            name: str | None = ...,
            input_validator: type[In],
            eviction_policy: EvictionPolicy | None = ...,
            **options: Unpack[TaskOptions],
        ) -> TaskDecorator[In]: ...

        @overload
        def durable_task(
            self,
            *,
            name: str | None = ...,
            eviction_policy: EvictionPolicy | None = ...,
            **options: Unpack[TaskOptions],
        ) -> InferringDecorator: ...

        def durable_task(self, **_: Any) -> Any: ...  # pyright: ignore[reportIncompatibleMethodOverride]  # as above

        def workflow(
            self,
            *,
            name: str,
            input_validator: type[In] = NO_INPUT,
            task_defaults: TaskPolicy | None = None,
            **options: Unpack[WorkflowOptions],
        ) -> Workflow[In]: ...

    def _register(self, runnable: Any, where: str) -> Any:
        ours = Workflow[Any] if runnable.spec.kind == "workflow" else Standalone[Any, Any]
        return super()._register(ours.of(runnable), where)

    def worker(
        self,
        name: str | None = None,
        slots: int | None = None,
        workflows: Iterable[Runnable[Any, Any]] | None = None,
        lifespan: Lifespan | None = None,
        labels: dict[str, str | int] | None = None,
        durable_slots: int | None = None,  # noqa: ARG002  (a waiting run holds no slot)
    ) -> Worker:
        """As Fanwood's."""
        return super().worker(name, slots, workflows, lifespan, labels)

    def get_current_context(self) -> Context | None:  # pyright: ignore[reportIncompatibleMethodOverride]  # None instead of an error
        """The context of the task that is running; None outside any."""
        attempt = current_attempt.get()
        return None if attempt is None else Context(attempt)
