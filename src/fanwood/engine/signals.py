"""Waiting, written once for both colours.

A `Signal` is awaited by coroutines. Under asyncio it suspends the task until it is fired; driven by `block`, without
a loop, it blocks the thread. So the rest of the package is written as coroutines only, and a blocking method is one
call of `block`. (The idea is that of sans-IO: the protocol yields what it waits for, its driver decides how.)
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary, ref

from fanwood import logs
from fanwood.errors import BlockingCallError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")

logger = logs.logger("fanwood.engine")

CALLS_IN_A_TURN = 500
"""Each may let code go on that has waited: of very many at once others on that loop would wait for all."""


class LoopPort:
    """The way into an event loop from other threads: one wake-up for however many calls. It keeps no loop alive."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)
        self._calls: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def post(self, call: Callable[[], None]) -> bool:
        """Have `call` run on the loop, in order; False if the loop is closed, or gone."""
        self._calls.append(call)
        if self._scheduled:
            return True
        self._scheduled, loop = True, self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._drain)
        except RuntimeError:
            return False
        return loop is not None

    def _drain(self) -> None:
        self._scheduled = False  # first, so that a call that comes now schedules another drain
        calls = self._calls
        for _ in range(min(len(calls), CALLS_IN_A_TURN)):
            call = calls.popleft()
            try:
                call()
            except Exception:
                logger.exception("a call into an event loop failed")
        if calls and not self._scheduled and (loop := self._loop()) is not None:
            self._scheduled = True
            loop.call_soon(self._drain)


_ports: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopPort] = WeakKeyDictionary()
_ports_lock = threading.Lock()


def port_of(loop: asyncio.AbstractEventLoop) -> LoopPort:
    """The one port of a loop."""
    port = _ports.get(loop)
    if port is None:
        with _ports_lock:
            port = _ports.setdefault(loop, LoopPort(loop))
    return port


class Signal:
    """Something that happens once. Fired by any thread, awaited by one waiter."""

    __slots__ = ("_fired", "_future", "_lock", "_port", "_timeout")

    blocker: ClassVar[Callable[[Signal], bool] | None] = None
    """Waits in the place of a thread that is to block, or says that it doesn't: who tests on virtual time."""

    def __init__(self) -> None:
        self._fired = False
        self._future: asyncio.Future[None] | None = None
        self._lock: threading.Lock | None = None
        self._port: LoopPort | None = None
        self._timeout: float | None = None

    @property
    def fired(self) -> bool:
        """Whether it has happened."""
        return self._fired

    @property
    def timeout(self) -> float | None:
        """For how many seconds a thread is to be blocked at most."""
        return self._timeout

    def fire(self) -> None:
        """It happens. More than once is once."""
        self._fired = True
        port, lock = self._port, self._lock
        if port is not None:
            port.post(self._resolve)
        elif lock is not None and lock.locked():
            with contextlib.suppress(RuntimeError):  # another thread fired it at the same moment
                lock.release()

    def _resolve(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has happened, or `timeout` seconds; whether it has."""
        if self._fired:
            return True
        loop = running_loop()
        if loop is None:
            self._timeout = timeout
            await _Blocked(self)
            return self._fired
        self._future = future = loop.create_future()
        self._port = port_of(loop)
        if self._fired:  # between the first look and the port
            return True
        own = contextvars.Context()  # it is no timer of the code's that waits
        timer = loop.call_later(timeout, self._resolve, context=own) if timeout is not None else None
        try:
            await future
        finally:
            self._port = self._future = None  # which would keep the loop
            if timer is not None:
                timer.cancel()
        return self._fired

    def block(self) -> None:
        """Block this thread until it has happened, or the time-out of `wait` is over. Called by `block` only."""
        if (blocker := Signal.blocker) is not None and blocker(self):
            return
        self._lock = lock = threading.Lock()
        lock.acquire()
        if not self._fired:
            lock.acquire(timeout=-1 if self._timeout is None else max(0.0, self._timeout))
        self._lock = None


class _Blocked:
    """What a coroutine yields to `block` when it has to wait."""

    __slots__ = ("_signal",)

    def __init__(self, signal: Signal) -> None:
        self._signal = signal

    def __await__(self) -> Generator[Signal, None, None]:
        yield self._signal


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop; uvloop's if it is installed."""
    try:
        import uvloop  # noqa: PLC0415  (the extra [fast], if it is there)
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs on this thread, if any."""
    return asyncio._get_running_loop()  # noqa: SLF001  (get_running_loop, without the exception)


def block(coroutine: Coroutine[Any, Any, T], name: str, instead: str | None = None) -> T:
    """Run a coroutine of this package to its end on this thread, blocking where it would await.

    Raises:
        BlockingCallError: an event loop runs on this thread, and would be frozen; `name` is the blocking method, and
            `instead` what to write there, if it isn't the method of that name with `aio_` in front.
    """
    if running_loop() is not None:
        coroutine.close()
        raise BlockingCallError(
            f"{name}() blocks, and an event loop runs on this thread: it, and all tasks on it, would freeze. "
            f"Use `{instead or f'await {twin_of(name)}(...)'}` here."
        )
    try:
        while True:
            waiting = coroutine.send(None)
            try:
                waiting.block()
            except BaseException as error:  # noqa: BLE001  (Ctrl-C, told to who waits)
                coroutine.throw(error)
    except StopIteration as stop:
        return stop.value
    finally:
        coroutine.close()


def twin_of(name: str) -> str:
    """The name of a blocking method's async twin."""
    owner, _, method = name.rpartition(".")
    return f"{owner}.aio_{method}" if owner else f"aio_{method}"
