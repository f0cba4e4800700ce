"""Committing a batch, whatever the store says to it.

There are three kinds of trouble:

- what passes by itself (a full disk, a locked file, a server that is away) is waited out, with the same batch;
- *this value*: something in the batch can't be stored. The batch is split until the request that it came with stands
  alone. That one fails, and nothing else suffers;
- whatever else it may be (a server's glitch, missing grants, a fault of ours) is waited out as well, and said loudly.
  Now and then the batch is split. If most of it goes through, what does not is kept apart and tried again by itself.
  But a batch whose answer may have been lost stays as it is: only the same one is not done twice.

Those who already run see a delay. Only who wants to start something new is told in the end, because nothing of it has
been promised yet: soon if a file can't be written to or a server says no, after `outage_patience` if a server is away.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
from msgspec import structs

from fanwood import logs
from fanwood.engine.failing import Failing, fail
from fanwood.engine.health import PASSING, as_answer, as_told, current_task, is_meant
from fanwood.engine.overdrawn import refuse_overdrawn
from fanwood.engine.parts import REQUEST, Item, assembled, items_of
from fanwood.errors import (
    FanwoodError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    StoreValueError,
)
from fanwood.model.budgets import Overdrawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fanwood.engine.health import Health
    from fanwood.engine.inbox import Inbox, SpawnRequest
    from fanwood.model.commands import Batch, ClaimRequest, Committed
    from fanwood.settings import Settings
    from fanwood.store.store import Store

    Deliver = Callable[[Batch, list[SpawnRequest], Committed], None]

T = TypeVar("T")

logger = logs.logger("fanwood.engine")

PAUSES = (0.01, 0.05, 0.2, 0.5, 1.0)
"""Seconds to wait before a commit that failed is tried again; the last one for as long as it takes."""
AWAY_PAUSE = 0.2
"""The longest pause if a server is away: it may be back for a moment only."""
ROOTS_FAIL_AFTER = 4
"""Tries after which new roots are refused; about a second."""
ROOTS_PATIENCE = 5.0
"""Seconds after which new roots are refused when a server that is there says no, and nobody knows why."""
UNLIMITED = 1 << 30
"""Runs that one claim may take, as far as this module is concerned."""
SPLIT_AFTER = 3
"""Tries, with trouble of an unknown kind, after which it may be due to a part of the batch."""
MISSES = 16
"""Parts that fail in a row, with trouble of an unknown kind, before it is taken for the store's."""
LEFT_OUT = ("logs", "deadlines")
"""What nobody waits for."""
APART_SECONDS = 5.0
"""How often what does not go through is tried again by itself."""
_tasks = msgspec.json.Decoder(list[str])


class Patience(NamedTuple):
    """Of who calls a verb that may be done again: for so many seconds; None: for as long as it takes, whatever the
    trouble, as a run can't go on without it. `inside`: code that runs asks, and waits for what passes by itself for as
    long as that takes."""

    seconds: float | None
    inside: bool = False


class _Apart(msgspec.Struct):
    """What did not go through, though other things did."""

    item: Item
    since: float
    due: float
    blamed: bool = False  # it held a value that the store can't, and is another one now


class Commits:
    """The way of an engine's batches into its store."""

    def __init__(self, store: Store, settings: Settings, inbox: Inbox, health: Health) -> None:
        self.hurried = False  # the engine stops: don't wait for better times
        self.due_again: float | None = None  # when what did not go through is to be tried again, by the loop
        self._store = store
        self._settings = settings
        self._inbox = inbox  # what waits for its turn meanwhile
        self._health = health
        self._apart: list[_Apart] = []
        self._failing = Failing(inbox)
        self._claim_limit = UNLIMITED
        self._one_task: int | None = None  # claims are for one task: so many have gone through since one failed
        self._turn = 0

    async def commit(self, worker_id: int, batch: Batch, requests: list[SpawnRequest], deliver: Deliver) -> bool:
        """Commit `batch`, and `deliver` what came of it, perhaps in parts. Who can't be served is told. Whether it went
        as it was; else its claim and its look at the mail were not done, or the claim was for one task of several."""
        trial, begin, doubt = 0, 0.0 if self._store.embedded else _time(), False  # (of a file only the tries count)
        claim, passing = None, False
        if batch.claim is not None:
            self._narrow(batch)
        self._failing.judge(batch)
        while True:
            error = await self._try(worker_id, batch, requests, deliver)
            if error is None:
                if self._claim_limit < UNLIMITED or self._one_task is not None:
                    self._widen(batch)
                if claim is not None and not passing:  # it went through without its claim
                    await self._fail_unreadable(claim)
                return not trial and (self._one_task is None or batch.claim is None)
            if isinstance(error, StoreValueError):
                items = items_of(batch, requests)
                await self._read_less(batch, items, error)
                if items:  # it may have been due to what was to be read beside them
                    met = None if batch.claim is not None or batch.mail else error
                    self._keep(await self._commit_parts(worker_id, items, met, deliver))
                return False
            self._health.note_trouble(error)
            if self._is_too_long(error, trial, begin):
                told = as_told(error, self._store.url)
                self._inbox.refuse_roots(told)  # before those: what they ask for next may be after the trouble
                _refuse_roots(batch, requests, told)
            if self.hurried and trial > len(PAUSES):
                refuse(requests, as_told(error, self._store.url))
                return False
            claim, batch.claim = claim or batch.claim, None
            passing = passing or isinstance(error, PASSING)
            await asyncio.sleep(self._pause(trial))
            trial += 1
            doubt = doubt or isinstance(error, StoreUnavailableError)
            if trial % SPLIT_AFTER == 0 and not isinstance(error, PASSING) and not doubt:
                items = items_of(batch, requests)
                left = await self._commit_parts(worker_id, items, error, deliver)
                if len(left) < len(items) or not items:
                    self._keep(left)
                    return False
                batch, rest = assembled(left)
                requests[:] = rest

    async def _try(
        self, worker_id: int, batch: Batch, requests: list[SpawnRequest], deliver: Deliver
    ) -> Exception | None:
        committed, mine = None, current_task()
        while committed is None:
            try:
                committed = await self._store.commit(worker_id, batch)
            except Overdrawn as error:  # nothing of it was done: once more, without those who would use too much
                if not refuse_overdrawn(batch, requests, error):
                    return StoreError(f"{self._store.url}: {error}, and nobody has asked for them")
                if batch.is_empty:
                    return None
            except BaseException as error:
                if is_meant(error, mine):
                    raise
                return as_answer(error, self._store.url)
        deliver(batch, requests, committed)
        return None

    def _narrow(self, batch: Batch) -> None:
        if batch.claim is not None and batch.claim.limit > self._claim_limit:
            batch.claim = structs.replace(batch.claim, limit=self._claim_limit, fair=0)
        if batch.claim is not None and self._one_task is not None:
            tasks = _tasks.decode(batch.claim.tasks)
            if self._one_task >= len(tasks):
                self._one_task = None
            elif len(tasks) > 1:
                self._turn += 1
                task = tasks[self._turn % len(tasks)]
                batch.claim = structs.replace(batch.claim, tasks=msgspec.json.encode([task]).decode())

    def _widen(self, batch: Batch) -> None:
        """After what went through."""
        self._claim_limit = min(UNLIMITED, self._claim_limit * 2)
        if batch.claim is not None and self._one_task is not None:
            self._one_task += 1

    async def _read_less(self, batch: Batch, items: list[Item], error: StoreValueError) -> None:
        """It may be due to what is read, and not to what is written: runs that can't be read fail, or the next claims
        take less. If not even one run, or the mail, can be read, that is said, and tried again after a while."""
        if batch.claim is not None:
            if await self._fail_unreadable(batch.claim):
                return
            self._claim_limit = max(1, batch.claim.limit // 2)
        if not items and (batch.claim is None or batch.claim.limit == 1):
            self._health.note_trouble(error)
            await asyncio.sleep(PAUSES[-1])

    async def _fail_unreadable(self, claim: ClaimRequest) -> int:
        """A claim failed where nothing else did. Runs that can't be read must not stop it; how many there were. If it
        is something else (a damaged page, say), each task is claimed by itself, so that the others go on."""
        self._one_task, mine = 0, current_task()
        try:
            count = await self._store.fail_unreadable(claim.tasks)
        except BaseException as error:
            if is_meant(error, mine):
                raise
            self._health.note_trouble(error)
            return 0
        if count:
            self._one_task = None
            logger.error("%d run(s) could not be read in the database, and have failed or are passed by", count)
        return count

    # --- in parts --------------------------------------------------------------------------------------------------

    async def _commit_parts(
        self, worker_id: int, items: list[Item], error: Exception | None, deliver: Deliver
    ) -> list[Item]:
        """Commit what can be, by halves; `error` is what all of it together met, if it was tried. What is left: nobody
        knows why."""
        left: list[Item] = []
        failed_of_itself: set[int] = set()
        parts, misses, trouble = [list(items)], 0, error
        while parts:
            part = parts.pop()
            trouble = trouble or await self._commit_part(worker_id, part, deliver, parts)
            failed, trouble = trouble, None
            if failed is None:
                misses = 0
                continue
            if not isinstance(failed, StoreValueError):
                misses += 1
                if misses > MISSES:
                    return [*left, *part, *[item for other in reversed(parts) for item in other]]
            if len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
            elif isinstance(failed, StoreValueError) and id(part[0].what) not in failed_of_itself:
                failed_of_itself.add(id(part[0].what))
                self._failing.note(part[0], failed)
                parts += [[item] for item in _blame(part[0], failed)]
            else:
                left += part
        return left

    async def _commit_part(
        self, worker_id: int, items: list[Item], deliver: Deliver, rest: Sequence[list[Item]] = ()
    ) -> Exception | None:
        """With the same batch while its trouble passes, and once more after any that is unknown: it may have been done,
        and only the same one is not done twice. After an answer was lost nothing but a value's fault says that it was
        not. New roots, also those of the `rest`, don't wait for as long as that takes."""
        batch, requests = assembled(items)
        self._failing.judge(batch)
        trial, begin, doubt = 0, _time(), False
        while not batch.is_empty:
            error = await self._try(worker_id, batch, requests, deliver)
            doubt = doubt or isinstance(error, StoreUnavailableError)
            lasts = isinstance(error, PASSING) or (doubt and not isinstance(error, StoreValueError))
            passes = lasts and not (self.hurried and trial > len(PAUSES))
            unknown = error is not None and not isinstance(error, StoreError) and trial < 1
            if error is None or not (passes or unknown):
                return error
            self._health.note_trouble(error)
            if self._is_too_long(error, trial, begin):
                told = as_told(error, self._store.url)
                self._inbox.refuse_roots(told)
                _refuse_roots(batch, requests, told)
                items[:] = [item for item in items if not _is_root(item)]
                for others in rest:
                    refuse([item.what for item in others if _is_root(item)], told)
                    others[:] = [item for item in others if not _is_root(item)]
            await asyncio.sleep(self._pause(trial))
            trial += 1
        return None

    def _keep(self, items: list[Item]) -> None:
        now = _time()
        self._apart += [_Apart(item, now, now + APART_SECONDS) for item in items]
        self._note_due()
        for item in items:
            if item.field == "outcomes":
                item.what.local = False  # its parent may go on elsewhere before this goes through
        if items:
            logger.error("%d item(s) of a commit don't go through; they are tried again by themselves", len(items))

    async def commit_again(self, worker_id: int, deliver: Deliver) -> None:
        """Try what did not go through, as far as it is due, each by itself."""
        now = _time()
        due = [apart for apart in self._apart if apart.due <= now]
        for apart in due:
            error = await self._commit_part(worker_id, [apart.item], deliver)
            apart.due = _time() + APART_SECONDS
            if error is None or not self._stays_apart(apart, error):
                self._apart.remove(apart)
        self._note_due()

    def _note_due(self) -> None:
        self.due_again = min([apart.due for apart in self._apart], default=None)

    def _stays_apart(self, apart: _Apart, error: Exception) -> bool:
        """Whether what failed once more is to be tried again."""
        if isinstance(error, StoreValueError) and not apart.blamed:
            self._failing.note(apart.item, error)
            instead = _blame(apart.item, error)
            if instead:
                apart.item, apart.blamed, apart.due = instead[0], True, _time()
            return bool(instead)
        self._health.note_trouble(error)
        if apart.item.field != REQUEST or apart.due - apart.since < self._settings.outage_patience:
            return True
        apart.item.what.answer(as_told(error, self._store.url))
        return False

    def fail_all(self, error: BaseException) -> None:
        """Nothing more will be committed."""
        refuse([apart.item.what for apart in self._apart if apart.item.field == REQUEST], error)
        self._apart.clear()
        self._note_due()

    # --- patience --------------------------------------------------------------------------------------------------

    def _is_too_long(self, error: Exception, trial: int, begin: float) -> bool:
        """Whether who starts something new should wait no longer."""
        if self._store.embedded or isinstance(error, StoreFullError):
            return trial >= ROOTS_FAIL_AFTER
        patience = self._settings.outage_patience
        return _time() - begin > (patience if isinstance(error, PASSING) else min(patience, ROOTS_PATIENCE))

    def _pause(self, trial: int) -> float:
        pause = PAUSES[min(trial, len(PAUSES) - 1)]
        return pause if self._store.embedded else min(pause, AWAY_PAUSE)

    async def patiently(self, verb: Callable[[], Awaitable[T]], patience: Patience) -> T:
        """Do something that may be done again, once the store answers.

        Raises:
            StoreError: it can't be done, or not in time. (Trouble of an embedded store is told at once.)
        """
        trial, begin, mine = 0, _time(), current_task()
        while True:
            try:
                return await verb()
            except BaseException as error:
                if self.hurried or is_meant(error, mine) or self._is_over(error, patience, _time() - begin):
                    raise
                self._health.note_trouble(error)
                await asyncio.sleep(self._pause(trial))
                trial += 1

    def _is_over(self, error: BaseException, patience: Patience, waited: float) -> bool:
        """Whether it is not tried again."""
        if isinstance(error, StoreValueError) or (
            isinstance(error, FanwoodError) and not isinstance(error, StoreError)
        ):
            return True
        passes = isinstance(error, PASSING)
        if patience.seconds is None or (patience.inside and passes):
            return False
        return waited > patience.seconds or not (patience.inside or (passes and not self._store.embedded))


def refuse(requests: list[SpawnRequest], error: BaseException) -> None:
    """Tell them all, and have nothing delivered to them later."""
    for request in requests:
        request.answer(error)
    requests.clear()


def _is_root(item: Item) -> bool:
    return item.field == REQUEST and item.what.parent[0] is None


def _refuse_roots(batch: Batch, requests: list[SpawnRequest], error: BaseException) -> None:
    """Who starts something new is told that it can't be now; what already runs waits for better times."""
    for request in [r for r in requests if r.parent[0] is None]:
        requests.remove(request)
        refused = {spawn.id for spawn in request.spawns}
        batch.spawns = [spawn for spawn in batch.spawns if spawn.id not in refused]
        batch.watch = [id_ for id_ in batch.watch if id_ not in refused]
        request.answer(error)


def _blame(item: Item, error: StoreValueError) -> list[Item]:
    """It holds a value that the store can't. Who asked is told; what is to be committed instead."""
    if item.field == REQUEST:
        item.what.answer(error)
    elif item.field == "outcomes":
        fail(item.what, error)
        return [item]
    elif item.field in LEFT_OUT:
        logger.error("a line of a log, or the like, can't be stored and is left out: %s", error)
    else:  # somebody waits for what comes of it
        return [item]
    return []


def _time() -> float:
    """Seconds, by the loop."""
    return asyncio.get_running_loop().time()
