"""What a run spends, and what it reserves: the part of its context that is about budgets.

In a durable task's own code a spend is recorded: code that is run again finds it, and does not spend again. Everywhere
else each execution counts, as money that is burnt twice is burnt twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Self

from fanwood.engine.signals import block
from fanwood.errors import AttemptFencedError, EngineClosedError, UsageError
from fanwood.ids import id_text
from fanwood.model.budgets import Spend
from fanwood.sdk.declaring.budget import Amount, millionths
from fanwood.sdk.recording.once import Doing, in_a_step
from fanwood.sdk.recording.recording import known_parts
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.waiting import called
from fanwood.store.budgets import exceeded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from types import TracebackType

    from fanwood.model.budgets import Refusal
    from fanwood.sdk.running.attempt import Attempt


class Spending:
    """Methods of `Context`."""

    __slots__ = ()

    _attempt: Attempt

    def spend(self, **amounts: Amount) -> None:
        """So much is used up: `ctx.spend(usd=0.02, tokens=812)`. It is taken from the nearest budget above this run
        that limits it; what no budget limits is only counted. Returns when it is written.

        In the own code of a durable task it is spent once in the life of the run. In a step, and in other tasks, each
        time.

        Raises:
            BudgetExceeded: there is not so much left of one of them. Nothing was spent.
        """
        block(_spend(self._attempt, amounts), "ctx.spend")

    async def aio_spend(self, **amounts: Amount) -> None:
        """As `spend`."""
        await _spend(self._attempt, amounts)

    def reserve(self, **amounts: Amount) -> Reservation:
        """Hold so much of the budget while inside: `with ctx.reserve(usd=1) as held:` (or `async with`), and spend it
        by `held.spend(usd=0.4)`. What is left of it is free again at the end of the block; and in any case at the end
        of this attempt, whatever becomes of it.

        Raises:
            BudgetExceeded: on entering: there is not so much left.
        """
        return Reservation(self._attempt, amounts)


class Reservation:
    """What `ctx.reserve` holds."""

    def __init__(self, attempt: Attempt, amounts: Mapping[str, Amount]) -> None:
        self._attempt = attempt
        self._amounts = _given(amounts)
        self._shown = _shown(amounts)
        self._id: bytes | None = None
        self._done: Doing | None = None

    def __repr__(self) -> str:
        state = "held" if self._id is not None else "not entered" if self._done is None else "recorded"
        return f"<Reservation of {self._shown}, {state}>"

    def spend(self, **amounts: Amount) -> None:
        """So much of it is used up. What is more than is held is taken from the budget itself.

        Raises:
            BudgetExceeded: there is not so much left of that. Nothing was spent.
        """
        block(_spend(self._attempt, amounts, self._id), "spend", "await aio_spend(...)")

    async def aio_spend(self, **amounts: Amount) -> None:
        """As `spend`."""
        await _spend(self._attempt, amounts, self._id)

    def __enter__(self) -> Self:
        block(self._begin(), "ctx.reserve", "async with ctx.reserve(...)")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        block(self._end(error), "ctx.reserve", "async with ctx.reserve(...)")

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(error)

    async def _begin(self) -> None:
        attempt = self._attempt
        if self._id is not None or self._done is not None:
            raise UsageError("ctx.reserve(...) gives what is entered once: call it again")
        attempt.check()
        if attempt.is_mocked:
            return
        self._done = await _once(attempt, "reserve", self._shown)
        if self._done is not None and self._done.done is not None:
            return  # an earlier attempt has left the block
        id_ = attempt.host.ids.new_id()
        asking = _asking(attempt, Spend(attempt.id, attempt.run.attempt, id_, self._amounts, reserve=True))
        try:
            _judge(attempt, await called(asking), f"reserve {self._shown}")
        except BaseException:
            if self._done is not None:
                self._done.forget()
            asking.add_done_callback(partial(_let_go, attempt, id_))  # it may be held all the same, by nobody
            raise
        self._id = id_

    async def _end(self, error: BaseException | None) -> None:
        attempt, held = self._attempt, self._id
        cancelled = isinstance(error, asyncio.CancelledError)  # by a time limit of its code's own, say
        if attempt.interruption is not None or not (error is None or cancelled or isinstance(error, Exception)):
            held = None
        if held is None:
            return  # of an attempt that is over, or unloaded, it ends by itself
        asked = Spend(attempt.id, attempt.run.attempt, attempt.host.ids.new_id(), of=held, release=True)
        try:
            await _ask(attempt, asked, f"let go of {self._shown}")
        except AttemptFencedError:
            return
        if self._done is not None and not cancelled:  # (its loop may have ended: the block begins anew elsewhere)
            self._done.record("null")


async def _spend(attempt: Attempt, amounts: Mapping[str, Amount], of: bytes | None = None) -> None:
    given, shown = _given(amounts), _shown(amounts)
    attempt.check()
    if attempt.is_mocked:
        return
    one = await _once(attempt, "spend", shown)
    if one is not None and one.done is not None:
        return
    id_ = attempt.host.ids.new_id() if one is None else one.id
    try:
        await _ask(attempt, Spend(attempt.id, attempt.run.attempt, id_, given, of=of), f"spend {shown}")
    except BaseException:
        if one is not None:
            one.forget()
        raise
    if one is not None:
        one.record("null")


async def _once(attempt: Attempt, what: str, shown: str) -> Doing | None:
    """In the own code of a durable run: what stands for it there, whenever it is asked for."""
    if attempt.spec.durable is None or in_a_step():
        return None
    parts = await known_parts(attempt)
    with registering:
        return Doing(attempt, parts, what, shown, shown.encode())


async def _ask(attempt: Attempt, asked: Spend, what: str) -> None:
    _judge(attempt, await called(_asking(attempt, asked)), what)


def _asking(attempt: Attempt, asked: Spend) -> Future[Refusal | None]:
    engine = attempt.host.engine()
    return engine.call(lambda store: engine.spends.spend(store, asked), steadfast=True)


def _let_go(attempt: Attempt, held: bytes, reserved: Future[Refusal | None]) -> None:
    """Who has reserved it went on without the answer. On any thread."""
    if reserved.cancelled() or reserved.exception() is not None or reserved.result() is not None:
        return
    with contextlib.suppress(EngineClosedError):  # then it ends with the attempt
        _asking(attempt, Spend(attempt.id, attempt.run.attempt, attempt.host.ids.new_id(), of=held, release=True))


def _judge(attempt: Attempt, refusal: Refusal | None, what: str) -> None:
    if refusal is None:
        return
    if refusal.is_fenced:
        attempt.check()
        raise AttemptFencedError(f"Run {id_text(attempt.id)} may not {what}: its attempt is over")
    raise exceeded(refusal, attempt.id, attempt.root, what)


def _given(amounts: Mapping[str, Amount]) -> dict[str, int]:
    if not amounts:
        raise UsageError("say how much, and of what: spend(usd=0.02)")
    return millionths(amounts, "what is spent")


def _shown(amounts: Mapping[str, Amount]) -> str:
    return ", ".join(f"{amount} {unit}" for unit, amount in sorted(amounts.items()))
