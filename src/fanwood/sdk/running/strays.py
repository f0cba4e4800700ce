"""Threads that a task starts itself know nothing of it, and neither do processes that it forks: what they run would be
roots, silently. So who starts a thread inside a task is noted, and a run that is started there is refused, with the way
to do it right. (A process can't be made a part of the tree: there it is said.)"""

from __future__ import annotations

import contextvars
import functools
import os
import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from fanwood import logs
from fanwood.errors import UsageError
from fanwood.ids import hex_text
from fanwood.sdk.running.current import current_attempt

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

logger = logs.logger("fanwood")

_started: WeakKeyDictionary[threading.Thread, str] = WeakKeyDictionary()
"""Threads that were started inside a task, and in which."""
_starts: list[Callable[[threading.Thread], None]] = []
"""What `Thread.start` was before."""
_OF_A_LOOP = "asyncio_"
"""How names of threads begin that a loop has for all who are on it: a task's call was the first that needed this one,
and others come after it. Who comes by `asyncio.to_thread` brings along whose it is."""
_forked: list[str] = []
"""The task in which this process was forked, until that was told."""


def with_context(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, to be called on another thread: it runs in the context (of the task, for instance) in which it was
    wrapped, so that what it starts are children of that task."""
    context = contextvars.copy_context()

    @functools.wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.copy().run(function, *args, **kwargs)  # a context is entered by one thread at a time

    return within


def note_threads() -> None:
    """From now on, of each thread that is started: by a task? (Only Python from 3.12 on would tell without this.)"""
    if threading.Thread.start is not _noting_start:
        _starts.append(threading.Thread.start)
        threading.Thread.start = _noting_start


def _noting_start(self: threading.Thread) -> None:
    attempt = current_attempt.get()
    if attempt is not None and not self.name.startswith(_OF_A_LOOP):
        _started[self] = f"{attempt.spec.name} (run {hex_text(attempt.run.id)})"
    _starts[-1](self)


def refuse_strays(task: str) -> None:
    """Outside of any task: a root is asked for.

    Raises:
        UsageError: on a thread that a task has started.
    """
    if _started and (owner := _started.get(threading.current_thread())) is not None:
        raise UsageError(
            f"{task} is started on a thread that {owner} has started itself, and a thread doesn't know whose it is. "
            f"Start it by asyncio.to_thread, or wrap what it calls while in the task: "
            f"fanwood.with_context({task}.run). Give detached=True if it is to be no child"
        )


def note_fork() -> None:
    """In a process that was just forked, which executes nothing: who executes is its parent."""
    _started.clear()
    attempt = current_attempt.get()
    current_attempt.set(None)
    if attempt is not None:
        _forked.append(f"{attempt.spec.name} (run {hex_text(attempt.run.id)})")


def tell_of_fork(task: str) -> None:
    """Outside of any task: a root was asked for."""
    if _forked:
        owner = _forked.pop()
        logger.warning(
            "%s is started in process %d, which was forked inside of %s: it is a root, and no child of that.",
            task, os.getpid(), owner,
        )  # fmt: skip
