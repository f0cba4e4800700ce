"""What is done to runs by hand, as those who call it want it: once it returns, it holds. The store's verbs record it in
no time; here it is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from fanwood.errors import StoreBusyError
from fanwood.store.cancelling import CROSSWISE, FIRST_PAUSE, heard, sweep_for_a_while

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.model.states import RunState
    from fanwood.store.store import Store

T = TypeVar("T")


async def paused(store: Store, run_id: bytes, by: str) -> bool:
    """Pause a run and all below it; False: it was paused. Once this returns nothing of it begins.

    Waits until every worker that lives has handed back what it had claimed of the tree and not begun; for a frozen one
    until its lease has lapsed.

    Raises:
        RunNotFoundError: there is no such run.
        UsageError: it has no code: a part of its parent.
    """
    new = await crosswise(lambda: store.pause(run_id, by))
    await heard(store, [run_id])
    return new


async def resumed(store: Store, run_id: bytes, tell: Callable[[], None] | None = None, *, only: str = "") -> bool:
    """Take back a pause of that run (`only`: by a name that ends so); False: there was none. Of a small tree all that
    waited is queued then, of a large one the rest follows. `tell` is called whenever there may be something to claim:
    it begins while more is queued.

    Raises:
        RunNotFoundError: there is no such run.
    """
    taken = await crosswise(lambda: store.resume(run_id, only))
    if taken:
        if tell is not None:
            tell()  # what no claim had met yet is queued still
        await sweep_for_a_while(store, [run_id], tell=tell)
    return taken


async def reprioritized(store: Store, run_id: bytes, priority: int, by: str) -> int:
    """Give a run, and all below it, another priority; which one it had. Of a small tree all stands in its new order
    once this returns, and workers have handed back what they had claimed and not begun; of a large one the rest
    follows.

    Raises:
        RunNotFoundError: there is no such run.
        UsageError: it has no code: a part of its parent.
    """
    before = await crosswise(lambda: store.reprioritize(run_id, priority, by))
    await sweep_for_a_while(store, [run_id])
    await heard(store, [run_id])
    return before


async def crosswise(verb: Callable[[], Awaitable[T]]) -> T:
    """Ask once more, as others may have been at it in another order."""
    for _ in range(CROSSWISE - 1):  # others may be committing in the tree
        try:
            return await verb()
        except StoreBusyError:
            await asyncio.sleep(FIRST_PAUSE)
    return await verb()


async def patched(store: Store, run_id: bytes, output: str, by: str) -> RunState:
    """Give a run an output, as JSON; in which state it was. If it had not ended, nothing below it starts once this
    returns.

    Raises:
        RunNotFoundError: there is no such run.
        UsageError: it has no code; or it has completed, and its parent has not ended.
    """
    before = await crosswise(lambda: store.patch(run_id, output, by))
    if not before.is_terminal:
        await heard(store, [run_id])
        await sweep_for_a_while(store, [run_id])
    return before
