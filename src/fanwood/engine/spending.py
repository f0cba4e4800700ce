"""What is spent at the same moment is one transaction: each by itself would pay for a disk's confirmation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

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
        while self._waiting:
            await asyncio.sleep(0)  # who comes in this turn of the loop goes with them
            taken, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            error: Exception | None = EngineClosedError("the engine was closed before it was spent")
            answers: list[Refusal | None] = []
            try:
                answers = await store.spend([one.spend for one in taken])
                error = None
            except Exception as problem:  # noqa: BLE001  (told to those who asked; they try again)
                error = problem
            finally:
                for number, one in enumerate(taken):
                    if one.answer.done():
                        continue
                    if error is None:
                        one.answer.set_result(answers[number])
                    else:
                        one.answer.set_exception(error)
