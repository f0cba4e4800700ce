"""What a process asks its machine for: clocks, ids, and who it is; all of it is the world's."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import sys
import threading
from collections.abc import Callable, Generator
from functools import partial
from random import Random
from types import CodeType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from fanwood import Fanwood
from fanwood import app as declaring
from fanwood.engine import housekeeping, membership, signals, spreading, tidying, waits, waking
from fanwood.model.commands import TaskInfo
from fanwood.sdk.declaring import outcomes
from fanwood.sdk.declaring.options import TaskPolicy
from fanwood.sdk.declaring.spec import TaskSpec
from fanwood.sdk.declaring.step import Step
from fanwood.sdk.running import own, sameness, unloading
from fanwood.sdk.tasks import workflow
from fanwood.sdk.tasks.durable import Durable
from fanwood.sdk.tasks.mock import mock_call
from fanwood.sdk.tasks.signatures import Signature, read_signature
from fanwood.sdk.tasks.task import Standalone
from fanwood.settings import Settings
from fanwood.store.memory import store as memory
from fanwood.store.sqlite import store as sqlite
from fanwood.worker import durables, executor, slots, taskloop, worker
from fanwood.worker import threads as pool
from fanwood.worker.executor import Executor
from tests.simulation import pages, threads
from tests.simulation.loops import VirtualTime

if TYPE_CHECKING:
    from fanwood.sdk.running.attempt import Attempt
    from tests.simulation.world import World


class WorldClock:
    """The store's."""

    timeline = "a world"

    def __init__(self, time: VirtualTime) -> None:
        self._time = time

    def now(self) -> int:
        return self._time.now

    def monotonic(self) -> float:
        return self._time.seconds


class HostClock(WorldClock):
    """Of one host: its wall clock is wrong, and jumps."""

    def __init__(self, time: VirtualTime, ahead: int) -> None:
        super().__init__(time)
        self.ahead = ahead

    def now(self) -> int:
        return super().now() + self.ahead


class WorldIds:
    """Of one process: each greater than those before, with the time of its wall clock."""

    def __init__(self, clock: HostClock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._last = 0

    def new_id(self) -> bytes:
        made = (self._clock.now() // 1000 << 80) | (7 << 76) | (2 << 62) | self._random.getrandbits(60)
        self._last = max(made, self._last + 1)
        return self._last.to_bytes(16, "big")

    def jitter(self) -> float:
        return self._random.random()


LINGERS, LINGER = 0.5, 2.0
"""How often, and how many seconds, others have for themselves between two transactions of one verb."""
_members: dict[type, list[tuple[str, Callable[[Any], Any], Callable[[Any, Any], None]]]] = {}
_workflows: dict[str, TaskSpec] = {}
_steps: dict[tuple[CodeType, str], TaskSpec] = {}
_policies: dict[str, TaskPolicy] = {}
_settings: dict[str, Settings] = {}
_specs: dict[tuple[CodeType, str], TaskSpec] = {}
_infos: dict[tuple[CodeType, str], TaskInfo] = {}
_signatures: dict[CodeType, Signature] = {}
_attempt_of = Executor._attempt
_declare, _info, _policy_of, _load = Fanwood.task, TaskSpec.info, TaskPolicy.of, Settings.load
_declare_durable, _declare_workflow = Durable.durable_task, Fanwood.workflow
_step_of = workflow.Workflow._step


def _task(app: Fanwood, *, name: str, **options: Any) -> Callable[[Any], Any]:
    """As `Fanwood.task`, and its `durable_task`. What all processes of all worlds declare in the same way is read
    once."""
    as_it_is: Any = _declare_durable if "eviction_policy" in options else _declare

    def declare(function: Any) -> Any:
        key = function.__code__, f"{name} {options}"
        if (spec := _specs.get(key)) is None:
            task = as_it_is(app, name=name, **options)(function)
            if task.spec.versions:  # which lead to the world of their code: it would never go
                return task
            _specs[key] = dataclasses.replace(task.spec, function=_task, host=None)
            return task
        spec = _with(spec, function=function, host=app)
        return app._register(Standalone(app, spec, function), spec.where)

    return declare


def _signature(function: Any, input_validator: Any) -> Signature:
    """As `read_signature`: the same of what tasks with versions take, whose specs are not kept."""
    if input_validator is not None:
        return read_signature(function, input_validator)
    if (known := _signatures.get(function.__code__)) is None:
        made = read_signature(function, None)
        _signatures[function.__code__] = dataclasses.replace(made, function=_task)
        return made
    return dataclasses.replace(known, function=function)


def _workflow(app: Fanwood, *, name: str, **options: Any) -> Any:
    """As `Fanwood.workflow`: the same."""
    if (spec := _workflows.get(name)) is None:
        made = _declare_workflow(app, name=name, **options)
        _workflows[name] = dataclasses.replace(made.spec, function=_task, ready=None, host=None)
        return made
    made = workflow.Workflow(app, _with(spec, host=app), TaskPolicy())
    return app._register(made, f"workflow {name}")


def _step(of: Any, name: str, function: Any, policy: TaskPolicy, parents: Any, durable: Any = None) -> Any:
    """As `Workflow._step`: the same of steps."""
    key = function.__code__, f"{of.name} {name}"
    if (spec := _steps.get(key)) is None:
        made = _step_of(of, name, function, policy, parents, durable)
        _steps[key] = dataclasses.replace(made.spec, function=_task, host=None)
        return made
    spec = _with(spec, function=function, host=of._host)
    return Step(name, spec, parents, function, partial(mock_call, of._host))


def _told(error: BaseException) -> str:
    """Instead of a traceback's text, which takes as long as all else of a failure."""
    return f"{type(error).__name__}: {error}"


def _policy(given: Any, known: Any, subject: str, base: TaskPolicy | None = None) -> TaskPolicy:
    key = f"{given} {base}"
    if key not in _policies:
        _policies[key] = _policy_of(given, known, subject, base)
    return _policies[key]


def _loaded(**given: Any) -> Settings:
    key = f"{given}"
    if key not in _settings:
        _settings[key] = _load(**given)
    return _settings[key]


def _with(frozen: Any, **values: Any) -> Any:
    """As `dataclasses.replace`, of what was checked already."""
    kind = type(frozen)
    made = object.__new__(kind)
    if kind not in _members:
        _members[kind] = [(name, getattr(kind, name).__get__, getattr(kind, name).__set__) for name in kind.__slots__]
    for name, get, set_ in _members[kind]:
        set_(made, values[name] if name in values else get(frozen))
    return made


def _published(spec: TaskSpec) -> TaskInfo:
    code = getattr(spec.function, "__code__", None)
    if code is None:
        return _info(spec)
    key = code, f"{spec.name} {spec.policy}"
    if key not in _infos:
        _infos[key] = _info(spec)
    return _infos[key]


@contextlib.contextmanager
def without_collector() -> Generator[None]:
    """What it finds, and when, is another each time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


async def _to_thread(world: World, function: Callable[..., Any], *arguments: Any) -> Any:
    """As `asyncio.to_thread`: on a thread of this process, since it may wait."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def work() -> None:
        function(*arguments)
        loop.call_soon_threadsafe(done.set_result, None)

    world.thread("waiting", work)
    await done


def _abort(group: Any) -> None:
    """As that of `asyncio.TaskGroup`, which walks a set of tasks, and so goes by their addresses: in the order in which
    they began."""
    group._aborting = True
    for task in [each for each in group._loop._tasks if each in group._tasks]:
        if not task.done():
            task.cancel()


@contextlib.contextmanager
def patched(world: World) -> Generator[None]:
    """What asks the machine asks the world."""

    def pid() -> int:
        strand = world.scheduler.running
        return 0 if strand is None or strand.host is None else strand.host.pid

    def attempt(of: Executor, *about: Any) -> Attempt:
        made = _attempt_of(of, *about)
        assert world.scheduler.running is not None
        world.scheduler.running.host.attempts.append(made)
        return made

    async def sleep(seconds: float) -> None:
        """Between two transactions of one verb."""
        late = not world.calm and world.random.random() < LINGERS
        await asyncio.sleep(world.random.random() * LINGER if late else seconds)

    def is_dead(pid: int) -> bool:
        return any(host.dead for host in world.hosts if host.pid == pid)

    instead: list[tuple[Any, str, Any]] = [
        (membership, "os", SimpleNamespace(getpid=pid)),
        (membership, "host_identity", lambda: ""),
        (housekeeping, "is_dead", is_dead),
        (signals, "_ports", {}),  # what loops that died were told, keeps them
        (Executor, "_attempt", attempt),
        (memory, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep})),
        (sqlite, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep})),
        (declaring, "read_signature", _signature),
        (Fanwood, "task", _task),
        (Durable, "durable_task", _task),
        (worker, "asyncio", SimpleNamespace(**{**vars(asyncio), "to_thread": partial(_to_thread, world)})),
        (worker, "aside", partial(_to_thread, world)),
        (worker, "carrying", lambda *_: contextlib.nullcontext()),  # nobody in a world begins actions of a server
        (Fanwood, "workflow", _workflow),
        (workflow.Workflow, "_step", _step),
        (outcomes, "_traceback", _told),
        (TaskSpec, "info", _published),
        (TaskPolicy, "of", staticmethod(_policy)),
        (Settings, "load", staticmethod(_loaded)),
        (asyncio.TaskGroup, "_abort", _abort),
    ]
    threads_of_world = threads.module(world.scheduler, world.random, world.thread)
    instead += [
        (module, "threading", threads_of_world)
        for module in (waking, signals, waits, executor, slots, taskloop, pool, durables, unloading, own, sameness)
    ]
    for module, name in ((worker, "LOOK_SECONDS"), (tidying, "LOOK_EVERY"), (spreading, "LOOK_EVERY")):
        instead.append((module, name, max(getattr(module, name), world.settings["sweep"])))
    if not world.rates["hint lost"] and not world.kept:  # then nothing may hang on a second look
        instead.append((housekeeping, "RECHECK_EVERY", 1e9))
    instead += world.ground.instead + pages.instead(world.page)
    if sys.version_info < (3, 12):  # nobody asks for all tasks, and each would be noted, and told of when it goes
        known: Any = vars(asyncio.tasks)["_all_tasks"]
        vars(known).setdefault("add", known.add)
        instead.append((known, "add", lambda _: None))
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in instead]
    me = threading.get_ident()
    threads.ours.add(me)
    if any(thread.ident not in threads.ours for thread in threading.enumerate()):
        instead = [(owner, name, _for_ours(value, getattr(owner, name))) for owner, name, value in instead]
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        for owner, name, value in instead:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
        logging.disable(level)
        threads.ours.discard(me)


def _for_ours(made: Any, real: Any) -> Any:
    """What a world has made, for its threads, and what is real for all others: if one of those took a lock, or slept,
    the world's dice would be thrown once more."""
    if isinstance(made, SimpleNamespace):
        there = vars(real)
        named = {
            name: _for_ours(value, there[name]) for name, value in vars(made).items() if value is not there.get(name)
        }
        return SimpleNamespace(**{**there, **named})
    if isinstance(made, staticmethod):
        return staticmethod(_for_ours(made.__func__, real))
    if not callable(made):
        return made
    ours, ident = threads.ours, threading.get_ident

    def either(*args: Any, **named: Any) -> Any:
        return (made if ident() in ours else real)(*args, **named)

    return either
