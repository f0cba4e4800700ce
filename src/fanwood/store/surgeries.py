"""What is done by hand to any number of runs, as those who call it want it: a hundred in a transaction. What can't be
done to some of them is passed by; once it returns, it holds for all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from fanwood.errors import BudgetExceeded, RunNotFoundError, StoreBusyError, UsageError
from fanwood.model.forks import Fork, draws_of
from fanwood.model.naming import part_id
from fanwood.model.states import RunState
from fanwood.store.cancelling import heard, sweep_for_a_while
from fanwood.store.forking import NewFork
from fanwood.store.many import MANY, Came, Deed
from fanwood.store.surgery import crosswise

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

_HEARD = ("cancel", "pause", "reprioritize")


async def to_all(store: Store, deed: Deed, ids: Sequence[bytes]) -> int:
    """Do that to each of these; to how many it is new.

    Of what is cancelled, paused or reprioritized nothing begins once this returns as it would have before. Of small
    trees all that follows is done then, of large ones the rest follows.
    """
    new = 0
    for start in range(0, len(ids), MANY):
        some = ids[start : start + MANY]
        part = replace(deed, forks=deed.forks[start : start + MANY])
        came = dict(zip(some, await _to_some(store, part, some), strict=True))
        done = [id_ for id_, how in came.items() if how in (Came.DONE, Came.FOLLOWS)]
        follows = [id_ for id_ in done if came[id_] is Came.FOLLOWS]
        if deed.what == "reprioritize":  # workers are told when all of the tree have heard
            await sweep_for_a_while(store, follows)
        if deed.what in _HEARD:  # also what others have done just now
            await heard(store, [id_ for id_, how in came.items() if how is not Came.NOT])
        if deed.what != "reprioritize":
            await sweep_for_a_while(store, follows)
        new += len(done)
    return new


async def _to_some(store: Store, deed: Deed, ids: Sequence[bytes]) -> list[Came]:
    try:
        came = await crosswise(lambda: store.to_many(deed, ids))
    except StoreBusyError:  # they are in each other's way with somebody again and again: one by one
        came = list[Came]()
        for number, id_ in enumerate(ids):
            one = replace(deed, forks=deed.forks[number : number + 1])
            came += await crosswise(lambda: store.to_many(one, [id_]))  # noqa: B023
    for number, id_ in enumerate(ids):
        if came[number] is Came.LATER:
            came[number] = await _replayed(store, id_, deed.allow)
    return came


async def _replayed(store: Store, run_id: bytes, allow: Iterable[int]) -> Came:
    try:
        done = await store.replay(run_id, [RunState(state) for state in allow])
    except (RunNotFoundError, BudgetExceeded, UsageError):
        return Came.NOT
    return Came.DONE if done else Came.SAME


def forks_of(runs: Iterable[RunRecord], key: bytes, by: str) -> tuple[NewFork, ...]:
    """A fork of each of these. Their ids are derived from `key`: whoever makes them once more finds them."""
    return tuple(
        NewFork(part_id(key, run.id), run.id, Fork(run.id.hex(), draws=draws_of(run.id, run.life), by=by).text, by=by)
        for run in runs
    )
