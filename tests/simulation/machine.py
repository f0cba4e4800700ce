"""What a process asks its machine for: clocks, ids, and who it is; all of it is the world's."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
from collections.abc import Callable, Generator
from random import Random
from types import CodeType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from fanwood import Fanwood
from fanwood.engine import housekeeping, membership, signals, tidying, waits, waking
from fanwood.model.commands import TaskInfo
from fanwood.sdk import workflow
from fanwood.sdk.signatures import Signature, read_signature
from fanwood.sdk.spec import TaskSpec
from fanwood.sdk.task import Standalone
from fanwood.worker import executor, slots, taskloop, worker
from fanwood.worker import threads as pool
from tests.simulation import threads
from tests.simulation.loops import VirtualTime

if TYPE_CHECKING:
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


_signatures: dict[CodeType, Signature] = {}
_specs: dict[tuple[CodeType, str], TaskSpec] = {}
_infos: dict[tuple[CodeType, str], TaskInfo] = {}
_declare, _info = Fanwood.task, TaskSpec.info


def _task(app: Fanwood, *, name: str, **options: Any) -> Callable[[Any], Any]:
    """As `Fanwood.task`. What all processes of all worlds declare in the same way is read once."""

    def declare(function: Any) -> Any:
        key = function.__code__, f"{name} {options}"
        if (spec := _specs.get(key)) is None:
            task = _declare(app, name=name, **options)(function)
            _specs[key] = dataclasses.replace(task.spec, function=_task, host=None)
            return task
        spec = dataclasses.replace(spec, function=function, host=app)
        return app._register(Standalone(app, spec, function), spec.where)

    return declare


def _read(function: Any, validator: Any) -> Signature:
    """As `read_signature`: the same of steps."""
    if (signature := _signatures.get(function.__code__)) is None:
        signature = _signatures[function.__code__] = read_signature(function, validator)
    return dataclasses.replace(signature, function=function)


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


@contextlib.contextmanager
def patched(world: World) -> Generator[None]:
    """What asks the machine asks the world."""

    def pid() -> int:
        strand = world.scheduler.running
        return 0 if strand is None or strand.host is None else strand.host.pid

    def is_dead(pid: int) -> bool:
        return any(host.dead for host in world.hosts if host.pid == pid)

    threading = threads.module(world.scheduler, world.random, world.thread)
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        for module in (waking, signals, waits, executor, slots, taskloop, pool):
            stack.enter_context(mock.patch.object(module, "threading", threading))
        stack.enter_context(mock.patch.object(membership, "os", SimpleNamespace(getpid=pid)))
        stack.enter_context(mock.patch.object(housekeeping, "is_dead", is_dead))
        stack.enter_context(mock.patch.object(membership, "host_identity", return_value=""))
        for module, name in ((worker, "LOOK_SECONDS"), (tidying, "LOOK_EVERY")):
            seldom = max(getattr(module, name), world.settings["sweep"])
            stack.enter_context(mock.patch.object(module, name, seldom))
        stack.enter_context(mock.patch.object(signals, "_ports", {}))  # what loops that died were told, keeps them
        stack.enter_context(mock.patch.object(Fanwood, "task", _task))
        stack.enter_context(mock.patch.object(workflow, "read_signature", _read))
        stack.enter_context(mock.patch.object(TaskSpec, "info", _published))
        if not world.rates["hint lost"] and not world.kept:  # then nothing may hang on a second look
            stack.enter_context(mock.patch.object(housekeeping, "RECHECK_EVERY", 1e9))
        try:
            yield
        finally:
            logging.disable(level)
