"""Closing what is below a run, and ending it: a gate is one row, and the rest is swept away in pages. Deadlines that
moved are told in the same way.

A transaction that looks at gates may have begun before one was made. So it holds a shared advisory lock
(`fw_enter_gates`), and whoever must be sure that everybody sees his gate waits until those that were under way when he
committed are through. Nobody waits for him.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from fanwood.errors import RunNotFoundError, StoreBusyError
from fanwood.ids import id_text
from fanwood.model.commands import Failure
from fanwood.model.records import Swept
from fanwood.store.budgets import replaying
from fanwood.store.cancelling import fenced
from fanwood.store.failures import ancestor_ended, encode_failure
from fanwood.store.parts import must_sleep, refuse_part
from fanwood.store.postgres.chores import SQL, chores

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.model.states import RunState
    from fanwood.store.postgres.chores import Host

PAGE = 400
"""How many runs one call of `sweep` ends, at most. Larger ones are hardly quicker: whoever commits beside one waits for
the processor, and for its WAL."""
BUDGET = 4_000
"""... and after so many microseconds it begins no further page: each holds its runs until the end of the call."""
UNDER_WAY_PAUSE, LONGEST_PAUSE = 0.003, 0.02
PASSES = 3
SWEEP_PAUSE = 0.02

_decode_paged = msgspec.json.Decoder(tuple[int, bool, str | None]).decode

TOLD = 250
"""How many runs one call tells of moved deadlines, at most."""

_decode_told = msgspec.json.Decoder(tuple[int, bool]).decode
_decode_swept = msgspec.json.Decoder(tuple[int, bool, str | None, bool]).decode


async def wait_for_others(host: Host) -> bool:
    """Wait for all transactions that may not have seen what was committed just now; False: one takes longer than a
    lease."""
    loop = asyncio.get_running_loop()
    begin, pause, before = loop.time(), UNDER_WAY_PAUSE, None
    while True:
        async with host.side.transaction() as db:
            found = {tuple(row) for row in await db.rows("under_way", SQL["under_way"])}
        before = found if before is None else before & found
        if not before:
            return True
        if loop.time() - begin > host.lease:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


async def cancel(host: Host, run_id: bytes, reason: str, attempt: int | None) -> bool:
    """See `Store.cancel`."""
    error = encode_failure(Failure("cancelled", message=reason))
    closing = ancestor_ended(run_id, f"was cancelled: {reason}")
    async with chores(host) as work:
        ((ended, over, closes, told),) = await work.db.call("fw_cancel", run_id, attempt, work.now, error, closing)
        work.told += told
    if over:
        raise fenced(run_id, attempt)
    if ended is None:
        raise RunNotFoundError(f"There is no run {id_text(run_id)} in {host.url}")
    if closes:
        await wait_for_others(host)
    return ended


async def cancel_children(host: Host, parent_id: bytes, attempt: int, ids: Sequence[bytes], reason: str) -> int:
    """See `Store.cancel_children`."""
    error = encode_failure(Failure("cancelled", message=reason))
    closing = [ancestor_ended(id_, f"was cancelled: {reason}") for id_ in ids]
    async with chores(host) as work:
        found = await work.db.call("fw_cancel_children", parent_id, attempt, list(ids), work.now, error, closing)
        ((ended, closes, told),) = found
        work.told += told
    if closes:
        await wait_for_others(host)
    return ended


async def paged(host: Host, verb: str, root: bytes | None, page: int) -> Swept:
    """A page of what follows from a row that was written before: of all trees, or of that of `root`. One round trip,
    but for the first page while others are at work, who may not have seen that row."""
    seen = None
    for _ in range(PASSES):
        answer = await host.side.call(verb, root, seen, host.given_now, page, host.notifies)
        looked, more, token = _decode_paged(answer)
        if token is None:
            return Swept(0, more, looked)
        seen = token if await wait_for_others(host) else None
    return Swept(0, more=True)


async def sweep(host: Host, run_id: bytes | None) -> tuple[Swept, bool]:
    """See `Store.sweep`; and whether there may be something that was resumed, or has another priority now."""
    ended, others = await _end(host, run_id)
    if run_id is not None or not others:
        return ended, others
    answer = await host.side.call("tell_deadlines", host.given_now, TOLD, host.notifies)
    looked, more = _decode_told(answer)
    return Swept(ended.ended, ended.more or more, looked), others


async def _end(host: Host, run_id: bytes | None) -> tuple[Swept, bool]:
    """One round trip, but for a new pass while others are at work; and whether there is something else that is swept,
    which has round trips of its own."""
    root, seen = None, None
    if run_id is not None:
        async with host.side.transaction() as db:
            found = await db.rows("root_of", SQL["root_of"], id=run_id)
        if not found:
            return Swept(0, more=False), False
        root = found[0][0]
    for _ in range(PASSES):
        answer = await host.side.call("sweep", root, seen, host.given_now, PAGE, BUDGET, host.notifies)
        ended, more, token, others = _decode_swept(answer)
        if token is None:
            return Swept(ended, more), others
        # A new pass: what was under way when its gates were made, and did not see them, comes first.
        seen = token if await wait_for_others(host) else None
    return Swept(0, more=True), True


async def replay(host: Host, run_id: bytes, allow: Iterable[RunState]) -> bool:
    """See `Store.replay`."""
    kind, parent = await part_of(host, run_id)
    refuse_part(run_id, kind, parent)
    allowed = [int(state) for state in allow if state.is_terminal]
    begin = asyncio.get_running_loop().time()
    while True:
        with replaying(run_id):
            async with chores(host) as work:
                await work.db.call("fw_enter_gates")
                ((answer, ready),) = await work.db.call("fw_replay", run_id, work.now, allowed)
                work.ready += ready or []
        if answer is None:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {host.url}")
        if answer == 3:
            raise RunNotFoundError(
                f"The tree of run {id_text(run_id)} is being deleted: it is older than runs are kept"
            )
        if answer in {0, 1}:
            return answer == 1
        if asyncio.get_running_loop().time() - begin > host.lease * 6:
            raise StoreBusyError(f"What is above run {id_text(run_id)} is closed, and not all below it has ended yet.")
        if not (await _end(host, run_id))[0].ended:
            await asyncio.sleep(SWEEP_PAUSE)


async def wake(host: Host, run_id: bytes) -> bool:
    """See `Store.wake`."""
    kind, _ = await part_of(host, run_id)
    must_sleep(run_id, kind)
    async with chores(host) as work:
        await work.db.call("fw_enter_gates")
        ((woken, told),) = await work.db.call("fw_wake", run_id, work.now)
        work.told += told
    return woken


async def part_of(host: Host, run_id: bytes) -> tuple[int, bytes | None]:
    """Of what kind a run is, and its parent: what never changes."""
    async with host.side.transaction() as db:
        found = await db.rows("part_of", SQL["part_of"], id=run_id)
    if not found:
        raise RunNotFoundError(f"There is no run {id_text(run_id)} in {host.url}")
    return found[0]
