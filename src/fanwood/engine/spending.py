"""What is spent at the same moment is one transaction: each by itself would pay for a disk's confirmation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from fanwood.engine.health import PASSING, as_answer, current_task, is_meant
from fanwood.errors import EngineClosedError
from fanwood.store.spending import MOST

if TYPE_CHECKING:
    from fanwood.model.budgets import Refusal, Spend
    from fanwood.store.store import Store


class _Asked(NamedTuple):
    spend: Spend
    answer: asyncio.Future[Refusal | None]


class Together:
    """The spends of one engine. On its loop."""

    def __init__(self) -> None:
        self._waiting: list[_Asked] = []
        self._worker: asyncio.Task[None] | None = None

    async def spend(self, store: Store, spend: Spend) -> Refusal | None:
        """See `Store.spend`; with those of others."""
        loop = asyncio.get_running_loop()
        one = _Asked(spend, loop.create_future())
        self._waiting.append(one)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work(store))
        return await one.answer

    async def _work(self, store: Store) -> None:
        taken: list[_Asked] = []
        try:
            while self._waiting:
                await asyncio.sleep(0)  # who comes in this turn of the loop goes with them
                taken, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                trouble = await _spend(store, taken)
                if trouble is not None and len(taken) > 1 and not isinstance(trouble, PASSING):
                    for one in taken:  # it may be due to one of them, from which the others must not suffer
                        _refuse([one], await _spend(store, [one]))
                else:
                    _refuse(taken, trouble)
        finally:
            _refuse([*taken, *self._waiting], EngineClosedError("the engine was closed before it was spent"))
            self._waiting.clear()


async def _spend(store: Store, asked: list[_Asked]) -> Exception | None:
    """Those who asked are answered; or what came in between is told."""
    mine = current_task()
    try:
        answers = await store.spend([one.spend for one in asked])
    except BaseException as error:
        if is_meant(error, mine):
            raise
        return as_answer(error, store.url)
    for one, answer in zip(asked, answers, strict=True):
        if not one.answer.done():
            one.answer.set_result(answer)
    return None


def _refuse(asked: list[_Asked], error: Exception | None) -> None:
    """Told to those who have no answer; they try again."""
    for one in asked:
        if error is not None and not one.answer.done():
            one.answer.set_exception(error)
