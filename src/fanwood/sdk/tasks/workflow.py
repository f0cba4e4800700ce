"""A workflow is a parent that spawns its steps.

A run of it executes `coordinate`, a small built-in task: each step is spawned as soon as its parents are done, as a
child whose key is the step's name. So everything that holds for children holds for steps, and below this file
nobody knows of DAGs: a workflow that is resumed or retried finds its finished steps again, and redoes only the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import msgspec

from fanwood import checks
from fanwood.errors import (
    FailedTaskRunExceptionGroup,
    SettingsError,
    TaskRunCancelled,
    TaskRunError,
    WorkflowDeclarationError,
)
from fanwood.sdk.children.spawning import Spawner
from fanwood.sdk.declaring.changes import note_declared, replaces
from fanwood.sdk.declaring.functions import location, name_of
from fanwood.sdk.declaring.items import BulkRunItem
from fanwood.sdk.declaring.options import DEFAULT_OPTIONS, AttemptOptions, TaskPolicy
from fanwood.sdk.declaring.outcomes import error_of
from fanwood.sdk.declaring.spec import TaskSpec
from fanwood.sdk.declaring.step import Step, StepCodec, StepInputs
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.waiting import asked
from fanwood.sdk.tasks.durable import eviction
from fanwood.sdk.tasks.mock import mock_call
from fanwood.sdk.tasks.signatures import read_signature
from fanwood.sdk.tasks.task import Runnable
from fanwood.sdk.waits.choosing import Choice, Conditions, choose
from fanwood.store.cancelling import cancel

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from fanwood.model.commands import Ended
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.unloading import EvictionPolicy
    from fanwood.sdk.tasks.decorators import StepDecorator
    from fanwood.sdk.waits.choosing import Given

In = TypeVar("In")
Out = TypeVar("Out")

ON_FAILURE = "on_failure"
ON_SUCCESS = "on_success"
MOST_CAUSES = 5
"""Of how many failed steps a workflow's own error says why."""


class Workflow(Runnable[In, dict[str, Any]]):
    """Several tasks that form a DAG and share one input; made by `Fanwood.workflow`. Its result is
    `{step name: output}`."""

    def __init__(self, host: Host, spec: TaskSpec, task_defaults: TaskPolicy) -> None:
        self._host = host
        self._defaults = task_defaults
        self.spec = replace(spec, function=self._coordinate, is_async=True, arity=1, kind="workflow", ready=self.check)
        self.steps: dict[str, Step[In, Any]] = {}
        self.conditions: dict[str, Conditions] = {}
        self.on_failure: Step[In, Any] | None = None
        self.on_success: Step[In, Any] | None = None

    @property
    def tasks(self) -> list[Step[In, Any]]:
        """All steps, with those for failure and success."""
        return [*self.steps.values(), *(s for s in (self.on_failure, self.on_success) if s is not None)]

    # --- declaration -----------------------------------------------------------------------------------------------

    @overload
    def task(self, name: Callable[..., Coroutine[Any, Any, Out]], /) -> Step[In, Out]: ...

    @overload
    def task(self, name: Callable[..., Out], /) -> Step[In, Out]: ...

    @overload
    def task(
        self,
        name: str | None = ...,
        *,
        parents: Sequence[Step[Any, Any] | str] = ...,
        wait_for: Given = ...,
        skip_if: Given = ...,
        cancel_if: Given = ...,
        **options: Unpack[AttemptOptions],
    ) -> StepDecorator[In]: ...

    def task(
        self,
        name: str | Callable[..., Any] | None = None,
        *,
        parents: Sequence[Step[Any, Any] | str] = (),
        wait_for: Given = (),
        skip_if: Given = (),
        cancel_if: Given = (),
        **options: Unpack[AttemptOptions],
    ) -> Any:
        """Declare a step, to run when its `parents` (steps, or names of steps) are done; with or without arguments.

        Args:
            name: default: the function's.
            parents: the steps before it. If all of them are skipped, it is skipped as well.
            wait_for: what must come after that: conditions, all of them; of an `or_` any.
            skip_if: if all of these come before it runs, it is skipped. Of a parent it is known at once.
            cancel_if: the same, and the step is cancelled, with what follows it.
            options: see `AttemptOptions`.

        Raises:
            WorkflowDeclarationError: a double name, a parent of another workflow, or a cycle.
            UsageError: something among the conditions is none.
        """
        policy = TaskPolicy.of(options, AttemptOptions.__annotations__, "task()", self._defaults)
        if callable(name):
            return self.task()(name)
        return self._step_declared(name, parents, policy, Conditions.of(wait_for, skip_if, cancel_if))

    def _step_declared(
        self,
        name: str | None,
        parents: Sequence[Step[Any, Any] | str],
        policy: TaskPolicy,
        conditions: Conditions,
        durable: EvictionPolicy | None = None,
    ) -> Callable[[Callable[..., Any]], Step[In, Any]]:
        def declare(function: Callable[..., Any]) -> Step[In, Any]:
            step = self._step(
                name_of(function) if name is None else name,
                function,
                policy,
                self._parent_names(parents, conditions, function),
                durable,
            )
            if (step.name in self.steps and not replaces()) or step.name in (ON_FAILURE, ON_SUCCESS):
                raise WorkflowDeclarationError(
                    f"{location(function)}: workflow {self.name} has a step named {step.name} already"
                )
            self.steps[step.name] = step
            self.conditions[step.name] = conditions
            self._refuse_cycle(step)
            note_declared()
            return step

        return declare

    def durable_task(
        self,
        name: str | Callable[..., Any] | None = None,
        *,
        parents: Sequence[Step[Any, Any] | str] = (),
        wait_for: Given = (),
        skip_if: Given = (),
        cancel_if: Given = (),
        eviction_policy: EvictionPolicy | None = None,
        **options: Unpack[AttemptOptions],
    ) -> Any:
        """Declare a step whose code is unloaded while it waits; else as `task`."""
        durable = eviction(eviction_policy)
        if callable(name):
            policy = TaskPolicy.of({}, {}, "", self._defaults)
            return self._step_declared(None, (), policy, Conditions(), durable)(name)
        policy = TaskPolicy.of(options, AttemptOptions.__annotations__, "durable_task()", self._defaults)
        return self._step_declared(name, parents, policy, Conditions.of(wait_for, skip_if, cancel_if), durable)

    def on_failure_task(
        self,
        name: str | Callable[..., Any] | None = None,
        **options: Unpack[AttemptOptions],
    ) -> Any:
        """Declare what runs when a step has failed for good; it sees `ctx.task_run_errors`."""
        policy = TaskPolicy.of(options, AttemptOptions.__annotations__, "on_failure_task()", self._defaults)
        if callable(name):
            return self.on_failure_task()(name)

        def declare(function: Callable[..., Any]) -> Step[In, Any]:
            self._refuse_second(self.on_failure, function)
            self.on_failure = self._step(ON_FAILURE if name is None else name, function, policy, ())
            note_declared()
            return self.on_failure

        return declare

    def on_success_task(
        self,
        name: str | Callable[..., Any] | None = None,
        **options: Unpack[AttemptOptions],
    ) -> Any:
        """Declare what runs when all steps are done; it sees all their outputs."""
        policy = TaskPolicy.of(options, AttemptOptions.__annotations__, "on_success_task()", self._defaults)
        if callable(name):
            return self.on_success_task()(name)

        def declare(function: Callable[..., Any]) -> Step[In, Any]:
            self._refuse_second(self.on_success, function)
            self.on_success = self._step(ON_SUCCESS if name is None else name, function, policy, ())
            note_declared()
            return self.on_success

        return declare

    def _step(
        self,
        name: str,
        function: Callable[..., Any],
        policy: TaskPolicy,
        parents: tuple[str, ...],
        durable: EvictionPolicy | None = None,
    ) -> Step[In, Any]:
        name = checks.task_name(name, "name", error=SettingsError)
        signature = read_signature(function, None)
        spec = TaskSpec(
            name=f"{self.name}:{name}",
            function=signature.function,
            is_async=signature.is_async,
            arity=signature.arity,
            input=StepCodec(self.spec.input, self.name),
            output=signature.output_codec(),
            policy=policy,
            kind="step",
            where=signature.where,
            durable=durable,
            host=self._host,
        )
        return Step(name, spec, parents, function, partial(mock_call, self._host))

    def _parent_names(
        self, parents: Sequence[Step[Any, Any] | str], conditions: Conditions, function: Callable[..., Any]
    ) -> tuple[str, ...]:
        """Those given, and those that conditions name."""
        names: list[str] = []
        for parent in [*((parents,) if isinstance(parents, (Step, str)) else parents), *conditions.parents]:
            if not isinstance(parent, (Step, str)):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
                raise WorkflowDeclarationError(
                    f"{location(function)}: parents must be steps, or names of steps, and hold {checks.shown(parent)}"
                )
            if isinstance(parent, Step) and self.steps.get(parent.name) is not parent:
                raise WorkflowDeclarationError(
                    f"{location(function)}: {parent.spec.name} is no step of workflow {self.name}, "
                    f"and can't be a parent in it"
                )
            names.append(parent.name if isinstance(parent, Step) else str.__str__(parent))
        return tuple(dict.fromkeys(names))

    def _refuse_second(self, present: Step[Any, Any] | None, function: Callable[..., Any]) -> None:
        if present is not None and not replaces():
            raise WorkflowDeclarationError(
                f"{location(function)}: workflow {self.name} has such a task already: {present.spec.where}"
            )

    def _refuse_cycle(self, step: Step[In, Any]) -> None:
        path = self._path_to(step.name, step, ())
        if path is not None:
            raise WorkflowDeclarationError(
                f"{step.spec.where}: the steps of workflow {self.name} wait for each other in a cycle: "
                f"{' -> '.join(path)}"
            )

    def _path_to(self, goal: str, step: Step[Any, Any], seen: tuple[str, ...]) -> list[str] | None:
        if step.name in seen:
            return None
        for parent in step.parents:
            if parent == goal:
                return [step.name, goal]
            further = self.steps.get(parent)
            path = self._path_to(goal, further, (*seen, step.name)) if further is not None else None
            if path is not None:
                return [step.name, *path]
        return None

    def check(self) -> None:
        """Whether the DAG is whole; called before the workflow is first run or served.

        Raises:
            WorkflowDeclarationError: a step names a parent that doesn't exist, or there are no steps.
        """
        if not self.steps:
            raise WorkflowDeclarationError(f"workflow {self.name} has no steps: declare some with @{self.name}.task()")
        for step in self.steps.values():
            for parent in step.parents:
                if parent not in self.steps:
                    raise WorkflowDeclarationError(
                        f"{step.spec.where}: step {step.name} of workflow {self.name} names {parent!r} as a parent, "
                        f"and there is no such step. There are: {', '.join(self.steps)}"
                    )

    # --- execution -------------------------------------------------------------------------------------------------

    async def _coordinate(self, input_: msgspec.Raw) -> dict[str, Any]:
        return await _Coordination(self, input_).run()


class _Coordination:
    """One attempt of a workflow's run."""

    def __init__(self, workflow: Workflow[Any], input_: msgspec.Raw) -> None:
        attempt = current_attempt.get()
        assert attempt is not None
        self._workflow = workflow
        self._attempt: Attempt = attempt
        self._input = input_
        self._outputs: dict[str, msgspec.Raw] = {}
        self._values: dict[str, Any] = {}
        self._errors: dict[str, TaskRunError | FailedTaskRunExceptionGroup] = {}
        self._skipped: set[str] = set()
        self._ended: dict[str, asyncio.Event] = {name: asyncio.Event() for name in workflow.steps}

    async def run(self) -> dict[str, Any]:
        workflow = self._workflow
        await self._run_steps()
        if workflow.on_success is not None and not self._errors:
            await self._spawn(workflow.on_success, workflow.on_success.name)
        if self._errors:
            await self._cancelled()
            if workflow.on_failure is not None:
                trial = self._attempt.run.trial_start  # it runs once for each trial of the workflow that fails
                await self._spawn(workflow.on_failure, f"{workflow.on_failure.name}#{trial}")
            raise FailedTaskRunExceptionGroup(
                f"{len(self._errors)} of {len(workflow.steps)} steps of workflow {workflow.name} failed: {self._why()}",
                _flat(self._errors.values()),
            )
        order = [step.name for step in workflow.tasks]  # as declared, not as they ended
        return {name: self._values[name] for name in order if name in self._values}

    async def _run_steps(self) -> None:
        """Raises what kept a step from being asked for, as a call by itself would: a group of errors says nothing."""
        try:
            async with asyncio.TaskGroup() as group:
                for step in self._workflow.steps.values():
                    group.create_task(self._run_step(step))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _why(self) -> str:
        causes = [" ".join(str(error).split()) for error in _flat(self._errors.values())]
        more = f"; and {len(causes) - MOST_CAUSES} more" if len(causes) > MOST_CAUSES else ""
        return "; ".join(causes[:MOST_CAUSES]) + more

    async def _cancelled(self) -> None:
        """A workflow whose steps were cancelled, and none of which failed, is cancelled as well."""
        errors = _flat(self._errors.values())
        if all(isinstance(error, TaskRunCancelled) for error in errors):
            attempt, reason = self._attempt, f"its step {errors[0].task_name} was cancelled: {errors[0].message}"
            engine = attempt.host.engine()
            await asked(engine, lambda store: cancel(store, attempt.id, reason), changes=True, by=attempt)
            attempt.check()

    async def _run_step(self, step: Step[Any, Any]) -> None:
        try:
            with self._attempt.unloading.among() if self._attempt.unloading else contextlib.nullcontext():
                for parent in step.parents:
                    await self._ended[parent].wait()
            if all(parent in self._outputs or parent in self._skipped for parent in step.parents):
                await self._go_on_with(step)
        finally:
            self._ended[step.name].set()

    async def _go_on_with(self, step: Step[Any, Any]) -> None:
        """Its parents are done: it runs, if nothing is against it."""
        conditions = self._workflow.conditions[step.name]
        if conditions.flat or (step.parents and self._skipped.issuperset(step.parents)):
            try:
                verdict = await choose(self._attempt, step.name, conditions, self._inputs(step))
            except (TaskRunError, FailedTaskRunExceptionGroup) as error:
                self._errors[step.name] = error
                return
            if verdict.decided is Choice.CANCEL:
                self._errors[step.name] = verdict.error(step.spec.name)
            elif verdict.decided is Choice.SKIP:
                self._skipped.add(step.name)
            if verdict.decided is not Choice.RUN:
                return
        await self._spawn(step, step.name)

    def _inputs(self, step: Step[Any, Any]) -> StepInputs:
        """What it is handed: the same in each attempt, in whatever order the steps before it ended."""
        before = step.parents if step.name in self._workflow.steps else tuple(self._workflow.steps)
        failed = step is self._workflow.on_failure  # others are asked for again in a retry, with the same input
        return StepInputs(
            self._input,
            {name: self._outputs[name] for name in before if name in self._outputs},
            [name for name in before if name in self._skipped],
            errors={name: str(error) for name, error in self._errors.items()} if failed else {},
            causes={name: _flat([error])[0].args[:5] for name, error in self._errors.items()} if failed else {},
            workflow=self._workflow.name,
        )

    async def _spawn(self, step: Step[Any, Any], key: str) -> None:
        """Spawn a step and keep how it ended. A step whose parents failed is never spawned."""
        inputs = self._inputs(step)
        spawner = Spawner(self._attempt.host, wait=True, fail_fast=False)
        planned = await spawner.spawn_all((BulkRunItem(step.spec, inputs, replace(DEFAULT_OPTIONS, child_key=key)),))
        await spawner.wait(None)
        self._keep(step, spawner.end(), planned.id(0))

    def _keep(self, step: Step[Any, Any], finished: Ended, run_id: bytes) -> None:
        if finished.output is not None and finished.error is None:
            self._outputs[step.name] = msgspec.Raw(finished.output.encode())
            self._values[step.name] = msgspec.json.decode(finished.output)
        elif step is not self._workflow.on_failure:
            self._errors[step.name] = error_of(finished, run_id, step.spec.name)


def _flat(errors: Any) -> list[TaskRunError]:
    """Groups of groups (a step that is a workflow's wait) as one list."""
    flat: list[TaskRunError] = []
    for error in errors:
        if isinstance(error, FailedTaskRunExceptionGroup):
            flat += _flat(error.exceptions)
        else:
            flat.append(error)
    return flat
