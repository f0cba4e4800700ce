"""The tick: one batch of what everybody asked for, committed, and what came of it handed out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.engine.admission import Admission, Room
from fanwood.engine.commits import refuse
from fanwood.engine.guard import Guard
from fanwood.engine.timers import Timers
from fanwood.model.commands import Batch, Closing, Committed, Outcome
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from fanwood.engine.claims import Claims
    from fanwood.engine.commits import Commits
    from fanwood.engine.delivery import Delivery
    from fanwood.engine.housekeeping import Housekeeping
    from fanwood.engine.inbox import Inbox, SpawnRequest
    from fanwood.engine.membership import Membership
    from fanwood.engine.waking import Waker
    from fanwood.model.commands import ClaimedRun
    from fanwood.store.store import Store

logger = logs.logger("fanwood.engine")

PROGRESS_SECONDS = 0.25
"""How long a run's progress waits for the next that it says, before it is committed."""
CLAIM_PAUSE = 0.004
"""Seconds from a commit to a claim by itself, while a small tree is executed beside a large one."""


class Ticks:
    """Of one engine, on its loop; `look`, `wake_for_room` and `stop` may be called from any thread."""

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        membership: Membership,
        claims: Claims,
        commits: Commits,
        delivery: Delivery,
        housekeeping: Housekeeping,
        waker: Waker,
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._membership = membership
        self._claims = claims
        self._commits = commits
        self._delivery = delivery
        self._housekeeping = housekeeping
        self._waker = waker
        self._guard = Guard(membership.most_runs)
        self._admission = Admission()
        self._limits = Timers()
        self._mail = False  # the mailbox may hold something for us
        self._progress_since: float | None = None  # the first that is not committed yet
        self._committing = False
        self._committed_at = 0.0
        self._lapses = 0  # of the lease, before what is committed now was
        self._stopping = False
        self._in_hand: list[SpawnRequest] = []  # what the present tick commits

    async def run(self) -> None:
        """Until `stop`, and until all is committed that was asked for."""
        while True:
            await self._waker.sleep(self._has_work, self._pause)
            if self._stopping and not self._inbox and not self._admission.held and not self._inbox.progress:
                return
            await self._tick()

    def stop(self) -> None:
        """Commit what there is, and end."""
        self._stopping = True
        self._waker.wake()

    def look(self, *, mail: bool = True) -> None:
        """The store was changed, by others or by a cold verb: the queue may hold something, and the mailbox."""
        self._mail = self._mail or mail
        self._claims.ready = True
        self._waker.wake()

    def wake_for_room(self) -> None:
        """The executors can take more runs: wake up if there may be any."""
        if (self._claims.ready and self._claims.active) or self._admission.held:
            self._waker.wake()

    def fail_all(self, error: BaseException) -> None:
        """The engine is over: who still waits for an answer gets this one."""
        refuse(self._in_hand, error)
        refuse(self._admission.give_up(), error)
        self._commits.fail_all(error)
        self._inbox.fail_all(error)

    async def committed(self) -> None:
        """Returns when what attempts have reported is committed."""
        while self._inbox.outcomes or self._committing:  # noqa: ASYNC110  (once, at a worker's end)
            await asyncio.sleep(0.005)

    # --- when ------------------------------------------------------------------------------------------------------

    def _has_work(self) -> bool:
        waiting = self._inbox or self._mail or self._stopping or self._delivery.has_work
        again = self._commits.due_again
        return (
            bool(waiting)
            or (again is not None and again <= _time())
            or (bool(self._inbox.progress) and self._progress_due() <= _time())
            or self._claims_now()
            or (bool(self._admission.held) and self._may_go_on())
        )

    def _claims_now(self) -> bool:
        """Whether to claim though there is nothing else to commit. While a small tree is executed beside a large one
        that waits a little: what the small one says next would wait for it."""
        dispatcher = self._membership.dispatcher
        if not self._claims.wanted(dispatcher):
            return False
        return not dispatcher.beside() or _time() >= self._committed_at + CLAIM_PAUSE

    def _progress_due(self, now: float | None = None) -> float:
        if self._progress_since is None:
            self._progress_since = _time() if now is None else now
        return self._progress_since + PROGRESS_SECONDS

    def _room_for_spawns(self) -> int | None:
        """For how many runs whose parents wait for them there is room; None: for any number."""
        dispatcher = self._membership.dispatcher
        alone = self._claims.active and not self._membership.contended and not self._stopping
        if not alone or not dispatcher.streams():
            return None
        if self._claims.ready:  # first what is queued
            return 0
        return dispatcher.demand()

    def _may_go_on(self) -> bool:
        """Whether there is room for those that were held back."""
        return self._admission.has_waited_long(_time()) or self._room_for_spawns() != 0

    def _pause(self, now: float | None = None) -> float | None:
        """Seconds until there is work whatever anybody says. `now`: by the loop, of who asks while that doesn't run."""
        whens: list[float] = []
        pauses: list[float] = []
        if (due := self._limits.next()) is not None:
            pauses.append((due - self._store.now()) / 1e6)
        if self._admission.held:
            whens.append(self._admission.until())
        if self._claims.wanted(self._membership.dispatcher) and self._membership.dispatcher.beside():
            whens.append(self._committed_at + CLAIM_PAUSE)
        if self._commits.due_again is not None:
            whens.append(self._commits.due_again)
        if self._inbox.progress:
            whens.append(self._progress_due(now))
        if whens:
            pauses.append(min(whens) - (_time() if now is None else now))
        return min(pauses) if pauses else None

    def _check_limits(self) -> None:
        if self._limits.next() is not None:
            due = self._limits.due(self._store.now())
            if due:
                self._membership.dispatcher.limits_reached(due)

    # --- what ------------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        self._check_limits()
        async with self._membership.turn:
            self._committing = True
            self._lapses = self._membership.lease.lapses
            try:
                if self._commits.due_again is not None:
                    await self._commits.commit_again(self._membership.worker_id, self._deliver)
                await self._commit()
                if (
                    self._inbox.outcomes and not self._membership.is_worker
                ):  # a worker stops: what it still got goes back
                    await self._commit()  # before it is another one
            finally:
                self._committing = False
                self._committed_at = _time()

    async def _commit(self) -> None:
        if self._inbox.heard:
            await self._commit_heard()
        batch = Batch()
        self._in_hand = requests = self._fill(batch)
        if batch.is_empty:
            self._delivery.tell_looked()
            return
        if not await self._commits.commit(self._membership.worker_id, batch, requests, self._deliver):
            self.look()
        self._in_hand = []

    async def _commit_heard(self) -> None:
        """That we begin nothing more of some trees, before anything else, as who has cancelled them waits for it. (What
        we give back comes with all else: until then it is ours, and nobody begins it.)"""
        batch = Batch()
        while self._inbox.heard:
            batch.heard.append(self._inbox.heard.popleft())
        if not await self._commits.commit(self._membership.worker_id, batch, [], self._deliver):
            self.look()

    def _fill(self, batch: Batch) -> list[SpawnRequest]:
        inbox, dispatcher = self._inbox, self._membership.dispatcher
        if inbox.limits:
            self._set_limits()
        left = inbox.empty_into(batch)
        if inbox.progress and inbox.take_progress(batch, due=self._stopping or self._progress_due() <= _time()):
            self._progress_since = None
        if batch.outcomes:
            dispatcher.place(batch.outcomes)
        requests = self._take_requests(batch, left)
        if inbox.suspends and not inbox.behind:
            inbox.take_suspends(batch)
        while inbox.given_up:
            self._delivery.give_up(*inbox.given_up.popleft(), batch)
        while inbox.watches:
            self._delivery.watch(*inbox.watches.popleft(), batch)
        while inbox.looks:
            self._delivery.when_looked(inbox.looks.popleft())
        self._delivery.prepare(batch, requests)
        batch.mail, self._mail = self._mail, False
        if not self._stopping:  # else what is claimed is handed back, and claimed again, for ever
            self._claims.plan(batch, dispatcher)
        return requests

    def _take_requests(self, batch: Batch, left: int) -> list[SpawnRequest]:
        """For runs, and for what no worker executes, with about so many bytes of each."""
        inbox = self._inbox
        spawns: list[SpawnRequest] = []
        if inbox.spawns or self._admission.held:
            room = Room(self._room_for_spawns(), left, _time())
            spawns = self._admission.admit(inbox.spawns, self._membership.dispatcher.serves, room)
        recorded: list[SpawnRequest] = []
        if inbox.records or inbox.behind:
            recorded = inbox.take_records(left)  # (after those: so whatever was recorded before them is there)
            spawns = inbox.put_back(batch, spawns) if inbox.behind else spawns
        spawns = self._guard.admit(spawns, batch)
        for request in spawns:
            batch.spawns += request.spawns
            batch.attaches += request.attaches
            batch.hedges += request.hedges
            batch.marks += request.marks
        if recorded:
            recorded = self._guard.admit(recorded, batch)
            batch.records += [record for request in recorded for record in request.records]
        return spawns + recorded

    def _set_limits(self) -> None:
        limits = self._inbox.limits
        while limits:
            limit = limits.popleft()
            if limit.when is None:
                self._limits.drop(limit.run, limit.attempt)
            else:
                self._limits.set(limit.run, limit.attempt, limit.when)

    def _deliver(self, batch: Batch, requests: list[SpawnRequest], committed: Committed) -> None:
        dispatcher = self._membership.dispatcher
        self._housekeeping.note_commit(batch, requests, committed)
        if committed.sizes:
            self._guard.learn(committed.sizes)
        if committed.has_more:
            self._mail = True
        if batch.suspends:
            self._inbox.tell_suspended(batch, committed.going_on)
        for notice in committed.mine:  # before any ends: a parent must not go on with those of children that were
            dispatcher.notice(notice)  # cancelled with it
        if instead := self._delivery.deliver(batch, requests, committed):
            self._inbox.spawns.extendleft(instead)
        for closing in committed.closings:
            self._hear(closing)
        runs = self._claims.learn(batch, committed)
        if runs:
            self._offer(runs)
        for outcome in batch.outcomes:
            if outcome.state is RunState.QUEUED and not outcome.delay:
                self._claims.ready = True

    def _offer(self, runs: list[ClaimedRun]) -> None:
        """Have them executed. They go back if nobody does so (any more), or if the lease has lapsed since they were
        claimed: what was closed then did not wait for us, and may have been theirs."""
        try:
            if self._membership.is_worker and self._membership.lease.lapses == self._lapses:
                self._membership.dispatcher.offer(runs)
                return
        except Exception:
            logger.exception("this worker could not begin %d run(s): they go back to the queue", len(runs))
        self._inbox.outcomes.append([Outcome(run.key, run.attempt, RunState.QUEUED) for run in runs])

    def _hear(self, closing: Closing) -> None:
        """Something was closed by a call, which waits until we have given back what we had not begun of that tree."""
        if outcomes := self._membership.dispatcher.hand_back(closing.root_id):
            self._inbox.outcomes.append(outcomes)
        self._inbox.heard.append(bytes.fromhex(closing.run_id))
        self._waker.wake()


def _time() -> float:
    """Seconds, by the loop."""
    return asyncio.get_running_loop().time()
