"""Who tells hooks of failures that nobody executed, and how far that is: one at a time, for as long as it says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from fanwood import logs
from fanwood.store.noted import turn
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logs.logger("fanwood.store")

SQL = load("sql/telling.sql")
PREFIX = "told:"


class Telling(ABC):
    """The verbs."""

    async def take_turn(self, tasks: str, now: int, until: int, begin: int) -> int | None:
        """The turn to tell of failures of these tasks (a name for all of them), up to a time at most. What ended before
        the time that is returned has been told of; None: somebody else has the turn.

        Of tasks that nobody has told of before, it begins where others are, as they may have been served in another
        company until now; or else at `begin`.
        """
        name = PREFIX + tasks
        values = dict(await self.turns("turns"))
        turns = {each: found for each, value in values.items() if (found := turn(value)) is not None}
        begin = max((told for told, _ in turns.values()), default=begin)
        seen, (told, taken_until) = values.get(name, ""), turns.get(name, (begin, 0))
        if name in values and name not in turns:
            logger.error("the setting %r of the database is spoilt: hooks are told of failures from now on", name)
        if taken_until > now or not await self.turns("take_turn", name=name, told=f"{told} {until}", seen=seen):
            return None
        return told

    async def end_turn(self, tasks: str, told: int) -> None:
        """All that ended before `told` has been told of, and the turn is another's."""
        await self.turns("end_turn", name=PREFIX + tasks, told=f"{told} 0")

    @abstractmethod
    async def turns(self, name: str, /, **bindings: Any) -> Sequence[Any]:
        """The rows of a statement of `sql/telling.sql`, done in a transaction of its own."""
