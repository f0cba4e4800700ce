"""Time-outs that the code of a durable run has set on its event loop, and which of its asyncio tasks they concern: by
these a wait is given up, and code that is run again is to give it up as it did, without waiting for as long again.

A limit is an `asyncio.Timeout`, or the future by which `asyncio.wait` (and `wait_for` before Python 3.12) hears of its
timer. Each belongs to the task that has set it. It concerns a wait if that task is the one that waits, or waits for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable
    from types import CodeType, FrameType

    Task = asyncio.Task[Any]

STATE = "_state"  # (there is no other way to tell one that is over from one that has just run out)
IN_FORCE = ("active", "expiring")
"""States of a `Timeout` that was entered, and not left."""


class Limits:
    """Of one attempt, in the order in which they were set: that is the same each time. (Which is over first is not.)"""

    def __init__(self) -> None:
        self._all: WeakKeyDictionary[Any, Task | None] = WeakKeyDictionary()

    def note(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Its code has set a timer: perhaps for one of those."""
        limit = getattr(callback, "__self__", None)
        if not isinstance(limit, asyncio.Timeout):
            if getattr(callback, "__name__", "") != "_release_waiter":
                return
            limit = args[0]
        setter = self._all.pop(limit, None)  # (it is set anew)
        self._all[limit] = asyncio.current_task() if setter is None else setter

    def concerning(self, waiter: Task, tasks: Collection[Task]) -> list[Any]:
        """Those that end the wait of one of these tasks."""
        chain = _chain(waiter, tasks)
        return [limit for limit, task in list(self._all.items()) if task in chain and _is_in_force(limit, task)]

    def over(self, waiter: Task, tasks: Collection[Task]) -> int | None:
        """Which of those is over, if one is."""
        mine = enumerate(self.concerning(waiter, tasks))
        return next((n for n, one in mine if (one.expired() if isinstance(one, asyncio.Timeout) else one.done())), None)

    def end(self, waiter: Task, tasks: Collection[Task], number: int) -> None:
        """Let that one be over."""
        mine = self.concerning(waiter, tasks)
        if number >= len(mine):
            return
        limit = mine[number]
        if not isinstance(limit, asyncio.Timeout):
            _set(limit, None)
        elif not limit.expired():
            limit.reschedule(asyncio.get_running_loop().time())


def end_race(waiter: Task, tasks: Collection[Task]) -> bool:
    """Where `asyncio.wait` waits for that task as well: let its time be over, or a sleep that the task races against,
    whatever comes first; whether there is such."""
    found: list[tuple[float, Any, Any]] = []
    for task in _chain(waiter, tasks) - {waiter}:
        code, frame = _innermost(task)
        if not _is_asyncios(code, "_wait", "tasks.py") or frame is None:
            continue
        local = frame.f_locals
        if (handle := local.get("timeout_handle")) is not None:
            found.append((handle.when(), local["waiter"], None))
        rivals: list[Any] = [one for one in local["fs"] if isinstance(one, asyncio.Task)]
        for rival in rivals:
            code, frame = _innermost(rival)
            if _is_asyncios(code, "sleep", "tasks.py") and frame is not None and "h" in frame.f_locals:
                found.append((frame.f_locals["h"].when(), frame.f_locals["future"], frame.f_locals["result"]))
    found = [one for one in found if not one[1].done()]
    if found:
        _, future, result = min(found, key=lambda one: one[0])
        _set(future, result)
    return bool(found)


def waited_for(task: Task) -> Iterable[Any] | None:
    """The futures that a task waits for: one, or those of a `gather`, an `asyncio.wait` without a limit, a `TaskGroup`
    at its end. None: it waits for something else."""
    code, frame = _innermost(task)
    if _is_asyncios(code, "_wait", "tasks.py") and frame is not None:
        return None if frame.f_locals.get("timeout_handle") is not None else frame.f_locals["fs"]
    if _is_asyncios(code, "wait_for", "tasks.py") or _is_asyncios(code, "_cancel_and_wait", "tasks.py"):
        return None
    return _linked(task)


def is_bound(task: Task, tasks: Collection[Task]) -> bool:
    """Whether a task waits for others of these, or for a time, and for nothing else."""
    if _is_asyncios(_innermost(task)[0], "sleep", "tasks.py"):
        return True
    of = _linked(task)
    return of is not None and all(one in tasks or one.done() for one in of)


def _linked(task: Task) -> Iterable[Any] | None:
    """The same, also where that is limited."""
    future: Any = getattr(task, "_fut_waiter", None)
    if future is None:
        return None
    if isinstance(future, asyncio.Task) or hasattr(future, "_children"):
        return _members(future)
    code, frame = _innermost(task)
    if code is None or frame is None:
        return None
    if code.co_filename.endswith("asyncio/taskgroups.py"):
        return list(frame.f_locals["self"]._tasks) if "self" in frame.f_locals else ()  # noqa: SLF001
    if _is_asyncios(code, "_wait", "tasks.py"):
        return list(frame.f_locals["fs"])
    if _is_asyncios(code, "wait_for", "tasks.py") or _is_asyncios(code, "_cancel_and_wait", "tasks.py"):
        return _members(frame.f_locals["fut"])
    return None


def _members(future: Any) -> Iterable[Any]:
    return getattr(future, "_children", (future,))


def _chain(waiter: Task, tasks: Collection[Task]) -> set[Task]:
    """A task, those that wait for it, those that wait for them, and so on."""
    links = {task: set(_linked(task) or ()) for task in tasks if task is not waiter}
    chain, new = {waiter}, {waiter}
    while new := {task for task, of in links.items() if task not in chain and not of.isdisjoint(new)}:
        chain |= new
    return chain


def _is_in_force(limit: Any, task: Task | None) -> bool:
    """Whether the code that has set it is still inside. (Who keeps a `Timeout`, or an error with its frames, keeps
    limits that are over.)"""
    if isinstance(limit, asyncio.Timeout):
        return getattr(limit, STATE).value in IN_FORCE
    return task is not None and any(frame.f_locals.get("waiter") is limit for _, frame in _frames(task))


def _frames(task: Task) -> Generator[tuple[CodeType, FrameType]]:
    """Of a task that waits, the innermost last."""
    inner: Any = task.get_coro()
    while hasattr(inner, "cr_code"):
        if inner.cr_frame is not None:
            yield inner.cr_code, inner.cr_frame
        inner = inner.cr_await


def _innermost(task: Task) -> tuple[CodeType | None, FrameType | None]:
    frames = [*_frames(task)]
    return frames[-1] if frames else (None, None)


def _is_asyncios(code: CodeType | None, name: str, file: str) -> bool:
    return code is not None and code.co_name == name and code.co_filename.endswith(f"asyncio/{file}")


def _set(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)
