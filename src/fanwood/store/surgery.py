"""What is done to runs by hand, as those who call it want it: once it returns, it holds. The store's verbs record it in
no time; here it is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from fanwood.errors import RunNotFoundError, StoreBusyError, UsageError
from fanwood.store.cancelling import CROSSWISE, FIRST_PAUSE, LAST_PAUSE, sweep_for_a_while

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

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
    new = await _crosswise(lambda: store.pause(run_id, by))
    await _heard(store, run_id)
    return new


async def resumed(store: Store, run_id: bytes, tell: Callable[[], None] | None = None) -> bool:
    """Take back a pause of that run; False: there was none. Of a small tree all that waited is queued then, of a large
    one the rest follows. `tell` is called whenever there may be something to claim: it begins while more is queued.

    Raises:
        RunNotFoundError: there is no such run.
    """
    taken = await _crosswise(lambda: store.resume(run_id))
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
    before = await _crosswise(lambda: store.reprioritize(run_id, priority, by))
    await sweep_for_a_while(store, [run_id])
    await _heard(store, run_id)
    return before


async def paused_all(store: Store, ids: Sequence[bytes], by: str) -> int:
    """As `paused`, for any number of runs, in little more time; of how many it was new. What can't be paused, or is
    gone, is passed by."""
    new = [run_id for run_id in ids if await _where_it_can(lambda run_id=run_id: store.pause(run_id, by))]
    for run_id in new:
        await _heard(store, run_id)
    return len(new)


async def resumed_all(store: Store, ids: Sequence[bytes]) -> int:
    """As `resumed`, for any number of runs; how many were paused."""
    taken = [run_id for run_id in ids if await _where_it_can(lambda run_id=run_id: store.resume(run_id))]
    await sweep_for_a_while(store, taken)
    return len(taken)


async def reprioritized_all(store: Store, ids: Sequence[bytes], priority: int, by: str) -> int:
    """As `reprioritized`, for any number of runs; to how many it was done."""
    done = list[bytes]()
    for run_id in ids:
        if await _where_it_can(lambda run_id=run_id: store.reprioritize(run_id, priority, by)) is not None:
            done.append(run_id)
    await sweep_for_a_while(store, done)
    for run_id in done:
        await _heard(store, run_id)
    return len(done)


async def _where_it_can(verb: Callable[[], Awaitable[T]]) -> T | None:
    """None: the run was deleted meanwhile, or is a part of its parent."""
    try:
        return await _crosswise(verb)
    except (RunNotFoundError, UsageError):
        return None


async def _heard(store: Store, run_id: bytes) -> None:
    pause = FIRST_PAUSE
    while not await store.is_heard(run_id):
        await asyncio.sleep(pause)
        pause = min(LAST_PAUSE, pause * 1.5)


async def _crosswise(verb: Callable[[], Awaitable[T]]) -> T:
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
    before = await _crosswise(lambda: store.patch(run_id, output, by))
    if not before.is_terminal:
        await _heard(store, run_id)
        await sweep_for_a_while(store, [run_id])
    return before
