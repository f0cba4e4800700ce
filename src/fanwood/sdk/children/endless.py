"""Spawning for a stream, which may have no end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.engine.waits import Stream
from fanwood.errors import AttemptFencedError, EngineClosedError, PayloadError, SpawnError, UsageError
from fanwood.sdk.children.planned import Planned
from fanwood.sdk.children.spawning import Spawner
from fanwood.sdk.running.waiting import wait_for

if TYPE_CHECKING:
    from typing import Any

    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.items import BulkRunItem

REFUSED = (PayloadError, UsageError, SpawnError)
"""What is wrong with one of the inputs, or too much, and not with what was asked for before."""
OVER = (AttemptFencedError, EngineClosedError)


class _Stream(Stream):
    def refuse(self, error: BaseException) -> None:  # noqa: ARG002  (who looks finds it in the answer)
        """What came before goes on."""
        self.nudge()

    def drop(self, number: int) -> None:
        """It never comes."""
        self._open.discard(number)


class StreamSpawner(Spawner):
    """Spawns without end: keeps what is under way."""

    def __init__(self, host: Host) -> None:
        self.stream = _Stream(owns=True)
        super().__init__(host, wait=True, collector=self.stream)
        self.under_way: dict[int, Planned] = {}
        self.refused: dict[int, Exception] = {}
        self.is_torn = False  # some of a request was planned, and not sent
        self.stream.under_way = lambda: [(number, run.id) for number, run in list(self.under_way.items())]

    async def spawn_some(self, chunk: list[BulkRunItem[Any, Any]]) -> None:
        try:
            await super().spawn_some(chunk)
        except REFUSED as error:
            self.is_torn = bool(self.planned) and not any(error is one for one in self.refused.values())
            raise
        finally:
            planned = enumerate(self.planned, self._taken_out)
            self.under_way.update((number, run) for number, run in planned if number not in self.refused)
            self._taken_out += len(self.planned)
            self.planned.clear()

    @property
    def count(self) -> int:
        """So many were asked for."""
        return self._taken_out

    @property
    def is_answered(self) -> bool:
        """Whether the oldest request was, and nobody has looked."""
        return bool(self._unanswered) and self._unanswered[0].signal.fired

    async def check_answers(self) -> None:
        """Of requests that were answered one may have been refused, whose runs are then under way no more."""
        while self.is_answered:
            await self._next_answer()

    async def _next_answer(self) -> None:
        answer = self._unanswered[0]
        try:
            await super()._next_answer()
        except REFUSED as error:
            for number in answer.numbers if error is answer.error else ():
                self.refused[number] = error
                self.stream.drop(number)
                self.under_way.pop(number, None)
            raise

    async def wait_for_some(self) -> None:
        """Wait until something has come."""
        await wait_for(self.stream, self._host, None, "a stream", self.tasks)

    def give_up(self) -> None:
        self._engine.give_up(self.stream, self.unfinished())

    def unfinished(self) -> list[bytes]:
        return [run.id for run in self.under_way.values() if run.id not in self._roots]

    def _found_instead(self, number: int, holder: bytes) -> None:
        if number in self.under_way:
            self.under_way[number] = Planned(holder, self.under_way[number].spec)
