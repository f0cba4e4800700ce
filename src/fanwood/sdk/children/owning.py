"""Who spawns and waits in one call owns what he spawned: if that wait is cancelled, the children are cancelled as well.

A wait may also be cancelled as the attempt itself is over (it was handed back, it timed out, its loop ends). Then
nobody has given anything up: the next attempt waits again. Which of the two it is can be told once the code went on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.engine.signals import running_loop
from fanwood.errors import EngineClosedError, RunInterrupted, StoreError
from fanwood.sdk.recording.outlasting import GIVEN_UP
from fanwood.sdk.running.waiting import called
from fanwood.store.cancelling import cancel_all, sweep_for_a_while

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.sdk.children.spawning import Spawner
    from fanwood.sdk.running.attempt import Attempt, Losses
    from fanwood.store.store import Store

logger = logs.logger("fanwood")

PAGE = 200
"""Children that one transaction cancels, at most."""
TURNS, FIRST_PAUSE, LAST_PAUSE = 10, 0.01, 0.5
"""So many turns of the loop the code may take to go on; after that it is looked now and then."""

_watching: set[asyncio.Task[None]] = set()


class owning:  # noqa: N801  (reads as the statement that it is)
    """While inside, the children of `spawner` are spawned, and waited for."""

    __slots__ = ("_spawner",)

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        attempt = self._spawner.attempt
        if attempt is None or not isinstance(error, (asyncio.CancelledError, RunInterrupted)):
            return
        self._spawner.give_up()  # also if the attempt is over: else it would seem here for ever that somebody waits
        if attempt.interruption is None and not attempt.code_ended and isinstance(error, asyncio.CancelledError):
            _losses_of(attempt).add(self._spawner)


async def abandon(spawner: Spawner) -> None:
    """Nobody wants what is under way any more. Returns when it is cancelled; but if the attempt is over, that settles
    all. What can't be cancelled is said and not raised: that would hide why it is given up."""
    attempt, engine = spawner.attempt, spawner.engine
    if attempt is None:
        spawner.give_up()
        await spawner.answered()
        ids = spawner.unfinished()
        try:
            await called(engine.call(lambda store: cancel_all(store, ids, spawner.lost or GIVEN_UP), changes=True))
        except (EngineClosedError, StoreError) as error:
            _tell_not_cancelled(error)
        return
    is_ending = running_loop() is not None and _is_ending(attempt)
    spawner.give_up()
    if attempt.interruption is None and not attempt.gave_back and not is_ending:
        for cancelling in _losses_of(attempt).drop(spawner):
            with contextlib.suppress(EngineClosedError, StoreError):  # `_end` says it
                await called(cancelling)


def _losses_of(attempt: Attempt) -> Losses:
    if attempt.losses is None:
        attempt.losses = GivenUp(attempt)
    return attempt.losses


class GivenUp:
    """What one attempt waited for and gave up."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._lock = threading.Lock()
        self._undecided: list[Spawner] = []
        self._under_way = 0
        self._then: Callable[[], None] | None = None

    def add(self, spawner: Spawner) -> None:
        """A wait was cancelled, on the loop that runs: it is looked whether the code goes on."""
        with self._lock:
            self._undecided.append(spawner)
        task = asyncio.get_running_loop().create_task(self._watch(), context=contextvars.Context())
        _watching.add(task)
        task.add_done_callback(_watching.discard)

    async def _watch(self) -> None:
        turn, pause = 0, FIRST_PAUSE
        with contextlib.suppress(asyncio.CancelledError):  # the loop ends after it was given up, and not the other way
            while _is_ending(self._attempt):
                await asyncio.sleep(0 if turn < TURNS else pause)
                turn, pause = turn + 1, pause if turn < TURNS else min(LAST_PAUSE, pause * 2)
        if self._attempt.interruption is None and not self._attempt.gave_back:
            self._begin()

    def drop(self, spawner: Spawner) -> list[Future[None]]:
        """What it has spawned is wanted by nobody, and the code goes on: what cancels it."""
        with self._lock:
            self._undecided.append(spawner)
        return self._begin()

    def then(self, call: Callable[[], None]) -> None:
        """See `Losses`."""
        self._begin()
        with self._lock:
            if self._under_way:
                self._then = call
                return
        call()

    def _begin(self) -> list[Future[None]]:
        with self._lock:
            spawners, self._undecided = self._undecided, []
            self._under_way += len(spawners)
        engine, calls = self._attempt.host.engine(), list[Future[None]]()
        for spawner in spawners:
            try:
                call = engine.call(partial(self._cancel, spawner), changes=True, steadfast=True)
            except EngineClosedError:
                self._end(None)
            else:
                call.add_done_callback(self._end)
                calls.append(call)
        return calls

    async def _cancel(self, spawner: Spawner, store: Store) -> None:
        """On the engine's loop."""
        await spawner.answered()
        ids, run, engine = spawner.unfinished(), self._attempt.run, self._attempt.host.engine()
        for start in range(0, len(ids), PAGE):
            alone = [id_ for id_ in ids[start : start + PAGE] if not engine.is_owned(id_)]
            await store.cancel_children(self._attempt.id, run.attempt, alone, spawner.lost or GIVEN_UP)
            await asyncio.sleep(0)
        if ids:  # else what they wait for would end under them, should the next attempt ask for them at once
            await sweep_for_a_while(store, [self._attempt.id])

    def _end(self, done: Future[None] | None) -> None:
        if done is not None and (error := done.exception()) is not None:
            _tell_not_cancelled(error)
        with self._lock:
            self._under_way -= 1
            call, self._then = (None, self._then) if self._under_way else (self._then, None)
        if call is not None:
            call()


def _tell_not_cancelled(error: BaseException) -> None:
    logger.warning("what nobody waits for any more could not be cancelled: %s", error)


def _is_ending(attempt: Attempt) -> bool:
    """Whether it looks as if its loop were ending: by that all tasks on it are cancelled. (How often one task has been
    is no sign: a `TaskGroup` that has failed leaves its parent marked as cancelled.)"""
    if attempt.spec.is_async and (not attempt.share.foreign_loop or attempt.coroutine_task is None):
        return False
    return all(task.cancelling() for task in asyncio.all_tasks() - _watching)
