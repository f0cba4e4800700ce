"""The same done to many runs on PostgreSQL: see `store/many.py`. One statement calls the function of each verb for run
after run, in the order of their ids; then commits that may not have seen it are waited for, once for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.model.budgets import Overdrawn
from fanwood.model.commands import Failure
from fanwood.model.states import FIRST_WAIT, RunState
from fanwood.store.failures import ancestor_ended, encode_failure
from fanwood.store.many import Came, Deed, Many, must_be_few
from fanwood.store.pausing import MEANWHILE
from fanwood.store.postgres.chores import chores
from fanwood.store.postgres.forking import PostgresForking
from fanwood.store.postgres.gates import wait_for_others
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.store.postgres.chores import Work

_SQL = load("postgres/many.sql")
_REPLAYED = {None: Came.NOT, 0: Came.SAME, 1: Came.DONE, 2: Came.LATER, 3: Came.NOT}


class PostgresMany(PostgresForking, Many):
    """The verb, on a store that has a server."""

    async def to_many(self, deed: Deed, ids: Sequence[bytes]) -> list[Came]:
        must_be_few(ids)
        came: dict[bytes, Came] = {}
        places = {id_: number for number, id_ in enumerate(ids)}
        asked = sorted(places)
        while asked:
            try:
                async with chores(self) as work:
                    came |= await _done(work, deed, asked, places)
            except Overdrawn as error:  # all of it was undone: once more, without those
                left = [id_ for id_ in asked if id_ not in error.refused]
                if len(left) == len(asked):
                    raise
                asked = left
            else:
                break
        if deed.what == "pause" or (deed.what == "cancel" and Came.FOLLOWS in came.values()):
            await wait_for_others(self)
        return [came.get(id_, Came.NOT) for id_ in ids]


async def _done(work: Work, deed: Deed, ids: list[bytes], places: dict[bytes, int]) -> dict[bytes, Came]:
    now, by = work.now, deed.by

    async def rows(*more: Any, about: list[bytes] | None = None) -> list[Any]:
        return await work.db.connection.fetch(
            work.db.named(_SQL[deed.what]), ids if about is None else about, now, *more
        )

    match deed.what:
        case "cancel":
            error = encode_failure(Failure("cancelled", message=by))
            closing = [ancestor_ended(id_, f"was cancelled: {by}") for id_ in ids]
            found = await rows(error, closing)
            _tell(work, (row[3] for row in found))
            return {id_: _cancelled(ended, closes) for id_, ended, closes, _ in found}
        case "replay":
            await work.db.call("fw_enter_gates")
            allow = [state for state in deed.allow if RunState(state).is_terminal]
            found = await rows(allow, int(FIRST_WAIT))
            work.ready += [task for row in found for task in row[2] or ()]
            return {id_: _REPLAYED[answer] for id_, answer, _ in found}
        case "pause":
            found = await rows(by, int(FIRST_WAIT), MEANWHILE)
            _tell(work, (row[2] for row in found))
            return {id_: _changed(new, Came.DONE) for id_, new, _ in found}
        case "resume":
            return {id_: _changed(new, Came.FOLLOWS) for id_, new in await rows(int(FIRST_WAIT))}
        case "reprioritize":
            found = await rows(deed.priority, by, int(FIRST_WAIT))
            return {id_: Came.NOT if before is None else Came.FOLLOWS for id_, before in found}
        case "fork":
            forks = [deed.forks[places[id_]] for id_ in ids]
            found = await rows(by, [new.id for new in forks], [new.life for new in forks])
            work.ready += [task for _, _, made, task in found if made]
            return {id_: Came.NOT if not can else _changed(made, Came.DONE) for id_, can, made, _ in found}


def _tell(work: Work, told: Iterable[list[int] | None]) -> None:
    work.told += sorted({worker for each in told for worker in each or ()})


def _changed(new: Any, came: Came) -> Came:
    """`new`: whether it was; None: there is no such run."""
    return Came.NOT if new is None else came if new else Came.SAME


def _cancelled(ended: Any, closes: Any) -> Came:
    if ended is None:
        return Came.NOT
    return Came.FOLLOWS if closes else Came.DONE if ended else Came.SAME
