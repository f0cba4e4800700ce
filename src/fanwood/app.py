"""The one object that a user constructs: it holds the tasks, the settings, and (once needed) the engine."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, cast, overload

from fanwood import checks, logs
from fanwood.clock import Clock, SystemClock
from fanwood.codec import codec_for
from fanwood.codec.empty import EmptyModel
from fanwood.errors import DuplicateTaskError, NotInTaskError, SettingsError, UnknownTaskError
from fanwood.home import home_of
from fanwood.ids import IdSource, SystemIds
from fanwood.sdk.client.runs import Runs
from fanwood.sdk.declaring.changes import note_declared, replaces
from fanwood.sdk.declaring.functions import first_line, location
from fanwood.sdk.declaring.hooks import Hooks
from fanwood.sdk.declaring.options import TaskOptions, TaskPolicy, WorkflowOptions
from fanwood.sdk.declaring.origins import origin_of, origin_of_caller
from fanwood.sdk.declaring.spec import TaskSpec
from fanwood.sdk.declaring.step import RawCodec
from fanwood.sdk.declaring.versions import with_versions
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.infos import table
from fanwood.sdk.running.unloading import EvictionPolicy
from fanwood.sdk.running.waiting import called
from fanwood.sdk.tasks.context import Context
from fanwood.sdk.tasks.durable import Durable
from fanwood.sdk.tasks.hooked import Hooked
from fanwood.sdk.tasks.signatures import read_signature
from fanwood.sdk.tasks.task import Runnable, Standalone
from fanwood.sdk.tasks.workflow import Workflow
from fanwood.sdk.waits.events import Events
from fanwood.sdk.waits.promises import Promises
from fanwood.sdk.waits.steps import Stepping
from fanwood.settings import MAX_SLOTS, Settings
from fanwood.store.urls import without_password
from fanwood.worker.worker import Lifespan, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fanwood.engine.engine import Engine
    from fanwood.sdk.declaring.versions import Versions
    from fanwood.sdk.tasks.decorators import AsyncFunction, Defaulted, InferringDecorator, SyncFunction, TaskDecorator

In = TypeVar("In")
Out = TypeVar("Out")


logger = logs.logger("fanwood")

NO_INPUT: Any = EmptyModel  # fits whatever type a workflow's input has when none is named


class Fanwood(Hooked, Stepping, Durable):
    """Holds tasks and knows the store. Constructing it opens nothing.

    Args:
        url: the database; default `$FANWOOD_DATABASE_URL`, else `sqlite:///.fanwood/fanwood.db`.
        namespace: keeps applications in one database apart.
        local_worker: whether runs that this process starts are executed in it. None: with the embedded store as "own",
            unless another live worker serves the task. "own": these, and what is below them, and what this program has
            left before; never those of other programs. True: whatever there is of its tasks. With `processes=` (a
            setting) in so many worker processes, which are started and ended with it.
        shared: whether it works together with the other objects of this process on the same store and namespace: they
            have one engine, and execute each other's tasks. Without it it is as if in a process of its own (as it is
            with a `clock` or `ids`).
        settings: any other of `Settings`, by name.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        local_worker: bool | Literal["own"] | None = None,
        shared: bool = True,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        **settings: Any,
    ) -> None:
        self.settings = Settings.load(database_url=url, namespace=namespace, **settings)
        if local_worker is not None and local_worker != "own":
            checks.flag(local_worker, "local_worker", error=SettingsError)
        self.clock: Clock = clock or SystemClock()
        self.ids: IdSource = ids or SystemIds()
        self.runs = Runs(self)
        self.promises = Promises(self)
        self.events = Events(self)
        self.hooks = Hooks()
        self.local_worker = local_worker
        self._told_who_serves = False
        self.worker_name = self._default_name()
        self._runnables: dict[str, Runnable[Any, Any]] = {}
        self._engine: Engine | None = None
        checks.flag(shared, "shared", error=SettingsError)
        self._home = home_of(self, shared=shared and clock is None and ids is None)

    def __repr__(self) -> str:
        return f"<Fanwood {without_password(self.settings.database_url)} with {len(self._runnables)} task(s)>"

    def _repr_html_(self) -> str:
        settings = self.settings
        rows = ("database", without_password(settings.database_url)), ("namespace", settings.namespace or None)
        return table((*rows, *((each.spec.kind, each.name) for each in self.tasks)))

    # --- declaring -------------------------------------------------------------------------------------------------

    @overload
    def task(  # pyright: ignore[reportOverlappingOverload]  # what can be called with an input, and without
        self, function: Defaulted[In, Coroutine[Any, Any, Out]], /
    ) -> Standalone[In | EmptyModel, Out]: ...

    @overload
    def task(self, function: AsyncFunction[In, Out], /) -> Standalone[In, Out]: ...

    @overload
    def task(self, function: Callable[[], Coroutine[Any, Any, Out]], /) -> Standalone[EmptyModel, Out]: ...

    @overload
    def task(self, function: Defaulted[In, Out], /) -> Standalone[In | EmptyModel, Out]: ...

    @overload
    def task(self, function: SyncFunction[In, Out], /) -> Standalone[In, Out]: ...

    @overload
    def task(self, function: Callable[[], Out], /) -> Standalone[EmptyModel, Out]: ...

    @overload
    def task(
        self,
        /,
        *,
        name: str | None = ...,
        input_validator: Callable[[], In],
        **options: Unpack[TaskOptions],
    ) -> TaskDecorator[In | EmptyModel]: ...

    @overload
    def task(  # pyright: ignore[reportOverlappingOverload]  # a class that needs arguments is none of those before
        self,
        /,
        *,
        name: str | None = ...,
        input_validator: type[In],
        **options: Unpack[TaskOptions],
    ) -> TaskDecorator[In]: ...

    @overload
    def task(
        self,
        /,
        *,
        name: str | None = ...,
        **options: Unpack[TaskOptions],
    ) -> InferringDecorator: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        input_validator: Any = None,
        **options: Unpack[TaskOptions],
    ) -> Any:
        """Declare a task; with or without arguments.

        The function is sync or async, and takes `(input, ctx)`, `(input)` or nothing.

        Args:
            function: the function, where the decorator is used without arguments.
            name: default: the function's.
            input_validator: the input's type; default: the annotation's.
            options: see `TaskOptions`.

        Raises:
            DuplicateTaskError: there is one of that name. (In a notebook the new one replaces it.)
            DeclarationError: the function takes something else, or its input's type can't travel.
            SettingsError: a value of an option that can't be.
        """
        policy = TaskPolicy.of(options, TaskOptions.__annotations__, "task()")

        def declare(function: Callable[..., Any]) -> Standalone[Any, Any]:
            return self._declare(function, name, input_validator, policy, options.get("description"))

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
        signature = read_signature(function, input_validator)
        spec = TaskSpec(
            name=self._full_name(signature.name if name is None else name),
            function=signature.function,
            is_async=signature.is_async,
            arity=signature.arity,
            input=signature.input_codec(),
            output=signature.output_codec(),
            policy=policy if description is not None else replace(policy, description=first_line(function)),
            where=signature.where,
            default=signature.default,
            origin=origin_of(function),
            durable=durable,
            strict=strict,
            host=self,
        )
        return self._register(
            Standalone(self, with_versions(spec, versions, read_signature), function), signature.where
        )

    def workflow(
        self,
        *,
        name: str,
        input_validator: type[In] = NO_INPUT,
        task_defaults: TaskPolicy | None = None,
        **options: Unpack[WorkflowOptions],
    ) -> Workflow[In]:
        """Declare a workflow; its steps are declared with `@workflow.task(...)`.

        Raises:
            DuplicateTaskError: there is a task or workflow of that name.
            SettingsError: a value of an option that can't be.
        """
        policy = TaskPolicy.of(options, WorkflowOptions.__annotations__, "workflow()")
        if task_defaults is not None and not isinstance(task_defaults, TaskPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
            raise checks.refused("task_defaults", "must be a TaskPolicy", task_defaults, SettingsError)
        spec = TaskSpec(
            name=self._full_name(name),
            function=location,  # replaced by the workflow with its coordinator
            is_async=True,
            arity=1,
            input=RawCodec(codec_for(input_validator)),
            output=codec_for(dict[str, Any]),
            policy=policy,
            kind="workflow",
            origin=origin_of_caller(inspect.currentframe()),
            durable=EvictionPolicy(),
            host=self,
        )
        return self._register(Workflow(self, spec, task_defaults or TaskPolicy()), f"workflow {name}")

    def _full_name(self, name: str) -> str:
        name = checks.task_name(name, "name", error=SettingsError)
        return f"{self.settings.namespace}/{name}" if self.settings.namespace else name

    def _register(self, runnable: Any, where: str) -> Any:
        present = self._runnables.get(runnable.name)
        if present is not None and not replaces():
            raise DuplicateTaskError(
                f"{where}: there is a {present.spec.kind} named {runnable.name} already "
                f"({present.spec.where or 'declared before'}). Give one of them another name: name=..."
            )
        self._runnables[runnable.name] = runnable
        note_declared()
        return runnable

    # --- running ---------------------------------------------------------------------------------------------------

    def worker(
        self,
        name: str | None = None,
        slots: int | None = None,
        workflows: Iterable[Runnable[Any, Any]] | None = None,
        lifespan: Lifespan | None = None,
        labels: dict[str, str | int] | None = None,  # noqa: ARG002  (accepted for ported code; labels come later)
    ) -> Worker:
        """A worker for `workflows` (tasks and workflows; default: all declared here), with so many slots.

        `lifespan` is an async generator function: what it yields is `ctx.lifespan`, what follows runs at the end.
        """
        slots = self.settings.slots if slots is None else slots
        slots = checks.whole(slots, "slots", 1, MAX_SLOTS, error=SettingsError)
        name = self._default_name() if name is None else checks.name(name, "name", error=SettingsError)
        if lifespan is not None and not inspect.isasyncgenfunction(inspect.unwrap(lifespan)):
            raise checks.refused("lifespan", "must be an async generator function", lifespan, SettingsError)
        specs = self._home.specs(None if workflows is None else self._names(workflows))
        return Worker(self, specs, name=name, slots=slots, lifespan=lifespan)

    def _names(self, workflows: Any) -> set[str]:
        asked = list(cast("Iterable[Any]", workflows)) if isinstance(workflows, Iterable) else [workflows]
        known = list(self._home.declared.values())
        for each in asked:
            if not isinstance(each, Runnable):
                raise checks.refused("workflows", "must be tasks and workflows", workflows, SettingsError)
            if not any(each is runnable for runnable in known):
                raise SettingsError(
                    f"workflows: {each.name} is not of this object ({self!r}), nor of one that works together with it: "
                    f"their URLs, namespaces or `shared` differ; or it was declared again since"
                )
        return {runnable.name for runnable in asked}

    def get_current_context(self) -> Context:
        """The context of the task that is running.

        Raises:
            NotInTaskError: none is.
        """
        attempt = current_attempt.get()
        if attempt is None:
            raise NotInTaskError("get_current_context() needs a running task, and this code runs outside of any")
        return Context(attempt)

    def find(self, name: str) -> Runnable[Any, Any]:
        """The task or workflow of that name.

        Raises:
            UnknownTaskError: there is none; the message names similar ones.
        """
        name = checks.storable(name, "name", checks.MAX_TEXT_LENGTH)
        known = self._home.declared | self._runnables
        runnable = known.get(name) or known.get(f"{self.settings.namespace}/{name}")
        if runnable is None:
            raise UnknownTaskError(unknown_task(name, known))
        return runnable

    @property
    def tasks(self) -> list[Runnable[Any, Any]]:
        """All tasks and workflows declared here."""
        return list(self._runnables.values())

    # --- its life --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Hand back what this process executes, and let go of the store; the last of several objects that work together
        does that. May be called twice; what is used again is opened again.

        Raises:
            UsageError: by a task that it executes.
        """
        self._home.leave(self)
        self._engine = None
        self.hooks.close()

    async def aio_close(self) -> None:
        """As `close`."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aio_close()

    # --- for tasks: Host -------------------------------------------------------------------------------------------

    def engine(self) -> Engine:
        """The engine of this process, started when it is first asked for.

        Raises:
            EngineClosedError: by code of a task that is over, or of a process that ends.
            StoreError: the store can't be opened.
        """
        engine = self._engine
        if engine is None:
            engine = self._engine = self._home.open(self)
            if isinstance(self.ids, SystemIds):
                engine.keep_in_time(self.ids)
        return engine

    def forget_engine(self) -> None:
        """The engine is over, or another process's."""
        self._engine = None

    @property
    def declared(self) -> Mapping[str, Runnable[Any, Any]]:
        """Its own tasks and workflows, by their full names."""
        return self._runnables

    async def prepare(self, tasks: Iterable[str]) -> None:
        """Before roots are spawned: be their worker, if nobody else is and that is our business."""
        engine, attempt = self.engine(), current_attempt.get()
        if self.local_worker is False or (attempt is not None and attempt.host.engine() is engine):
            return
        local = self._home.local
        if local is None or (engine.dispatcher.slots and not local.is_working):
            return  # a worker of this process serves already
        ours = local.is_working or self.local_worker or engine.settings.processes != 1
        if ours or (engine.store.embedded and await self._is_unserved(engine, tasks)):
            await local.ensure(own=self.local_worker is not True)

    async def _is_unserved(self, engine: Engine, tasks: Iterable[str]) -> bool:
        for task in tasks:
            if not await called(engine.call(lambda store, task=task: store.served(engine.worker_id, task))):
                return True
        if not self._told_who_serves:
            self._told_who_serves = True
            workers = await called(engine.call(lambda store: store.workers()))
            now = engine.store.now()
            live = [f"{w.name} (process {w.pid})" for w in workers if w.slots and w.lease_expires_at > now]
            logger.warning("What this process starts is executed by another: %s", ", ".join(live) or "a worker")
        return False

    def retire_local(self) -> None:
        """A worker begins in this process: what was executed without one is handed over to it."""
        self.engine()
        if self._home.local is not None:
            self._home.local.close()

    def spec(self, name: str) -> TaskSpec | None:
        """The task of that full name, if it was declared here."""
        runnable = self._runnables.get(name) or self._home.declared.get(name)
        return runnable.spec if runnable is not None else None

    @staticmethod
    def _default_name() -> str:
        return f"{socket.gethostname()}-{os.getpid()}"


def unknown_task(name: str, known: Iterable[str]) -> str:
    """The message for a name that nobody knows."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    listed = ", ".join(names[:20]) or "none"
    return (
        f"There is no task named {checks.shown(name)}.{hint} Known tasks: {listed}{' ...' if len(names) > 20 else ''}"
    )
