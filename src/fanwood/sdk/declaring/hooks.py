"""What an application adds to its runs: hooks, which are told how attempts ended, and middleware around tasks' code.

Hooks are called on a thread of their own, one after another, and never by what executes runs: one that is slow holds up
other hooks, and one that never returns, all that come after it; past `WAITING` events these are let go of, and that is
said. No run waits for a hook, or fails by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from fanwood import checks, logs
from fanwood.errors import DeclarationError

logger = logs.logger("fanwood.hooks")

WAITING = 1000
"""Events that wait for hooks, at most."""
FLUSH_SECONDS = 5.0
"""How long an end waits for hooks that were not called yet."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """How an attempt of a run ended, as hooks are told.

    `error` is why, in few words, and `traceback` that of the exception; `exception` is what the task raised, None of a
    time-out. `retry_in`: seconds until it is tried again. `seconds`: how long the attempt had a slot.
    """

    task_name: str
    run_id: str
    root_id: str
    parent_id: str | None
    attempt: int
    retry_count: int
    seconds: float
    retry_in: float | None = None
    error: str | None = None
    traceback: str = ""
    exception: BaseException | None = field(default=None, repr=False)
    raw_input: str = field(default="null", repr=False)
    raw_metadata: str = field(default="{}", repr=False)

    @property
    def input(self) -> Any:
        """The input, as plain JSON."""
        return msgspec.json.decode(self.raw_input)

    @property
    def additional_metadata(self) -> dict[str, Any]:
        """The run's metadata: its own, and what it inherited."""
        return msgspec.json.decode(self.raw_metadata)


Hook = Callable[[RunEvent], Any]
Around = Callable[[Any], "AbstractContextManager[Any, Any] | Iterator[Any]"]
H = TypeVar("H", bound=Hook)
M = TypeVar("M", bound=Around)


class Hooks:
    """Those of one application."""

    def __init__(self) -> None:
        self.middleware: list[Callable[[Any], AbstractContextManager[Any, Any]]] = []
        self.of: dict[str, list[Hook]] = {}  # by what they are told of
        self.forget()

    def forget(self) -> None:
        """In a process that was forked: what waits is the parent's business, and so is its thread."""
        self._changed = threading.Condition()
        self._events: deque[tuple[str, RunEvent] | Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._busy = self._closing = False
        self._dropped = 0

    # --- adding ----------------------------------------------------------------------------------------------------

    def add(self, what: str, hook: H) -> H:
        """See `Hooked` (hooked.py)."""
        if not callable(hook) or not _takes_one(hook):
            raise checks.refused("a hook", "must be a function of a RunEvent", hook, DeclarationError)
        self.of.setdefault(what, []).append(hook)
        return hook

    def add_middleware(self, around: M) -> M:
        """See `Hooked` (hooked.py)."""
        bare = inspect.unwrap(around) if callable(around) else around
        if not callable(around) or inspect.iscoroutinefunction(bare) or inspect.isasyncgenfunction(bare):
            must = (
                "must be a generator function of a Context, or return a context manager; no async one, as it surrounds "
            )
            raise checks.refused("a middleware", f"{must}sync tasks as well", around, DeclarationError)
        if not _takes_one(around):
            raise checks.refused("a middleware", "must take one argument, a Context", around, DeclarationError)
        make: Any = around
        self.middleware.append(contextmanager(make) if inspect.isgeneratorfunction(make) else make)
        return around

    # --- middleware ------------------------------------------------------------------------------------------------

    def surround(self, function: Callable[..., Any], context: Any, *, is_async: bool) -> Callable[..., Any]:
        """A task's function with all middleware around it."""

        def call(*arguments: Any) -> Any:
            with self._around(context):
                return function(*arguments)

        async def aio_call(*arguments: Any) -> Any:
            with self._around(context):
                return await function(*arguments)

        return aio_call if is_async else call

    @contextmanager
    def _around(self, context: Any) -> Generator[None]:
        """Middleware may look at what a task raises, or raise something else; it can't take a failure away, as there is
        no output in its place."""
        raised: BaseException | None = None
        with contextlib.ExitStack() as stack:
            for make in self.middleware:
                manager = make(context)
                if not hasattr(type(manager), "__exit__"):
                    name = getattr(make, "__qualname__", repr(make))
                    must = "must yield once, or return a context manager (for sync tasks as well, so no async one)"
                    raise checks.refused(f"the middleware {name}", must, manager)
                stack.enter_context(manager)
            try:
                yield
            except BaseException as error:
                raised = error
                raise
        if raised is not None:
            raise raised

    # --- telling ---------------------------------------------------------------------------------------------------

    def tell(self, what: str, event: RunEvent) -> None:
        """Have the hooks for that called, soon. From any thread; never waits."""
        with self._changed:
            if len(self._events) >= WAITING:
                self._dropped += 1
                if self._dropped > 1:
                    return
                logger.warning("%d events wait for hooks, which are too slow: further ones are let go of", WAITING)
                return
            self._append((what, event))

    @property
    def waiting(self) -> int:
        """Events for which hooks were not called yet."""
        return len(self._events)

    def afterwards(self, call: Callable[[], None]) -> None:
        """Call this, on the thread of the hooks, when they have been called for all that was told until now."""
        with self._changed:
            self._append(call)

    def _append(self, told: tuple[str, RunEvent] | Callable[[], None]) -> None:
        self._events.append(told)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fanwood-hooks", daemon=True)
            contextvars.Context().run(self._thread.start)  # whoever tells: it is no thread that a task has started
        self._changed.notify_all()

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait until the hooks have been called for all that was told, but not longer than this."""
        if self._thread is None or self._thread is threading.current_thread():
            return
        with self._changed:
            done = self._changed.wait_for(lambda: not self._busy and not self._events, seconds)
            left = len(self._events)
        if not done:
            logger.warning("a hook has not returned within %g s; %d more events wait for it", seconds, left)

    def close(self) -> None:
        """As `flush`; and let the thread end. It begins again if something is told."""
        self.flush()
        with self._changed:
            self._closing = self._thread is not None
            self._changed.notify_all()

    def _work(self) -> None:
        """The thread. Async hooks have one event loop, for as long as it lasts."""
        with asyncio.Runner() as runner:
            while (told := self._next()) is not None:
                if callable(told):
                    told()
                    continue
                what, event = told
                for hook in list(self.of.get(what, ())):
                    self._call(runner, hook, event)
                del told, event  # the exception, and all that its frames hold

    def _next(self) -> tuple[str, RunEvent] | Callable[[], None] | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._events or self._closing)
            if not self._events:
                self._thread, self._closing = None, False
                return None
            if self._dropped and len(self._events) < WAITING // 2:
                logger.warning("hooks were not called for %d events", self._dropped)
                self._dropped = 0
            self._busy = True
            return self._events.popleft()

    def _call(self, runner: asyncio.Runner, hook: Hook, event: RunEvent) -> None:
        try:
            answer = hook(event)
            if inspect.isawaitable(answer):
                runner.run(_awaited(answer))
        except BaseException:
            logger.exception("a hook failed: %s, told of %s (run %s)", _name(hook), event.task_name, event.run_id)


async def _awaited(answer: Any) -> None:
    await answer


def _name(hook: Hook) -> str:
    name = None
    with contextlib.suppress(BaseException):  # it may be an object of any kind
        name = getattr(hook, "__qualname__", None)
    return name if isinstance(name, str) else type(hook).__qualname__


def _takes_one(function: Callable[..., Any]) -> bool:
    """Whether it can be called with one argument; of what is no function, or has no signature, nothing is known."""
    if not inspect.isroutine(function):
        return True
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True
