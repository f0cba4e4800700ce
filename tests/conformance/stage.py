"""A store, a clock that stands still, ids that repeat; and short ways to say what an engine says in batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Self

from fanwood import ManualClock, RunState, SeededIds
from fanwood.model.commands import (
    Attach,
    Attached,
    Batch,
    ClaimedRun,
    ClaimRequest,
    Committed,
    Failure,
    Outcome,
    Record,
    Spawn,
    SpawnKind,
    TaskInfo,
    WorkerInfo,
)
from fanwood.model.records import RunFilter, RunRecord
from fanwood.model.states import WAIT_NAMES, WAITS_OF, OnParentEnd, RunKind
from fanwood.store.failures import encode_failure
from fanwood.store.store import Store

MakeStore = Callable[[ManualClock], Store]
SECOND = 1_000_000
TASKS = ("a", "b", "c")


def digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


class Stage:
    """One store, as the engines of several workers see it."""

    def __init__(self, make_store: MakeStore) -> None:
        self.clock = ManualClock()
        self.ids = SeededIds(7)
        self._make_store = make_store
        self.store = make_store(self.clock)
        self.hints = 0
        self.worker = 0
        self.sweeps = True  # what was closed is ended before anything else happens
        self._others: list[Store] = []

    async def open(self) -> None:
        await self.store.open(self._notify)
        self.worker = await self.register()

    def _notify(self) -> None:
        self.hints += 1

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        for store in (*self._others, self.store):
            await store.close()

    async def another_store(self, on_notify: Callable[[], None] = lambda: None) -> Store:
        """A second instance on the same database, as another process has it."""
        store = self._make_store(self.clock)
        self._others.append(store)
        await store.open(on_notify)
        return store

    async def register(
        self,
        tasks: Sequence[str] = TASKS,
        *,
        name: str = "w",
        lease: float = 10,
        slots: int = 4,
        programs: Sequence[int] = (),
    ) -> int:
        about = WorkerInfo(name, "host", 1, slots, tuple(tasks), round(lease * SECOND), tuple(programs))
        return await self.store.register(about, [TaskInfo(task, "task") for task in tasks])

    # --- spawning --------------------------------------------------------------------------------------------------

    def spawn(self, task: str = "a", parent: ClaimedRun | None = None, **about: Any) -> Spawn:
        """A run to be: a root, or a child of a claimed run. `about` is of the kind, or of the run."""
        own = {name: about.pop(name) for name in ("input", "child_key", "input_digest", "claimed") if name in about}
        input_ = own.pop("input", "{}")
        id_ = self.ids.new_id()
        if parent is not None:
            key = own.get("child_key")
            own["identity"] = digest(f"key {key}" if key else f"{task} {input_} {id_.hex()}")
            about = {
                "parent_id": parent.key,
                "parent_attempt": parent.attempt,
                "root_id": bytes.fromhex(parent.root_id),
                "depth": parent.depth + 1,
                **about,
            }
        identity = own.pop("identity", None)
        return Spawn(SpawnKind(task, **about), id_, identity, input_, **own)

    async def commit(self, worker: int | None = None, store: Store | None = None, **batch: Any) -> Committed:
        done = await (store or self.store).commit(self.worker if worker is None else worker, Batch(**batch))
        if done.has_closed and self.sweeps:
            await self.sweep()
        return done

    async def born(self, task: str = "a", parent: ClaimedRun | None = None, **about: Any) -> bytes:
        """A new run's id."""
        spawn = self.spawn(task, parent, **about)
        done = await self.commit(spawns=[spawn])
        assert not done.fenced_parents
        return spawn.id

    async def running(
        self, task: str = "a", parent: ClaimedRun | None = None, *, worker: int | None = None, **about: Any
    ) -> ClaimedRun:
        """A new run, claimed by a worker."""
        id_ = await self.born(task, parent, **about)
        runs = await self.claim(100, tasks=[task], worker=worker)
        assert [run.key for run in runs] == [id_], "something else was queued"
        return runs[0]

    async def attach(self, parent: ClaimedRun, child: bytes, task: str = "a", **about: Any) -> Attached:
        """The present attempt of `parent` asks for `child` again."""
        done = await self.commit(attaches=[self.attachment(parent, child, task, **about)])
        assert not done.fenced_parents
        return done.attached[0]

    def attachment(self, parent: ClaimedRun, child: bytes, task: str = "a", **about: Any) -> Attach:
        given = about.pop("input_digest", None)
        kind = SpawnKind(task, parent_id=parent.key, parent_attempt=parent.attempt, depth=parent.depth + 1, **about)
        return Attach(kind, child, given)

    def part(self, parent: ClaimedRun, what: str = "1", *, kind: RunKind = RunKind.SLEEP, **about: Any) -> Record:
        """A child that no worker executes: a sleep of five seconds, a step that returned 1, or what waits."""
        of = {"deadline": about.pop("deadline", None), "deadline_by": about.pop("deadline_by", None)}
        made = SpawnKind(
            WAIT_NAMES[kind],
            parent_id=parent.key,
            parent_attempt=parent.attempt,
            root_id=bytes.fromhex(parent.root_id),
            depth=parent.depth + 1,
            on_parent_end=OnParentEnd.CANCEL,
            run_kind=kind,
            **of,
        )
        if kind is RunKind.SLEEP:
            about = {"state": RunState.WAITING, "due_at": self.clock.now() + 5 * SECOND, **about}
        elif kind in WAITS_OF:
            about = {"state": RunState.WAITING, **about}
        else:
            about = {"state": RunState.COMPLETED, "output": "1", **about}
        input_ = what if what.startswith("{") else f'"{what}"'
        return Record(made, about.pop("id", None) or self.ids.new_id(), digest(f"{kind} {what}"), input_, **about)

    async def recorded(self, parent: ClaimedRun, what: str = "1", **about: Any) -> bytes:
        """It is there; its id."""
        record = self.part(parent, what, **about)
        done = await self.commit(records=[record])
        assert not done.fenced_parents
        return record.id

    # --- executing -------------------------------------------------------------------------------------------------

    async def claim(
        self,
        limit: int = 1,
        *,
        tasks: Sequence[str] = TASKS,
        fair: int = 0,
        idle: bool = False,
        worker: int | None = None,
        programs: Sequence[int] = (),
        turns: dict[int, str] | None = None,
    ) -> list[ClaimedRun]:
        """`programs`: those that the worker has registered for; `turns`: by priority, whose the last turn was."""
        only = json.dumps(list(programs)) if programs else ""
        last = None if turns is None else json.dumps(turns)
        done = await self.commit(worker, claim=ClaimRequest(json.dumps(list(tasks)), limit, fair, idle, only, last))
        return done.claimed

    async def report(self, *outcomes: Outcome, worker: int | None = None) -> Committed:
        return await self.commit(worker, outcomes=list(outcomes))

    async def complete(self, run: ClaimedRun, output: str = "1", **about: Any) -> Committed:
        return await self.report(completed(run, output, **about))

    async def fail(self, run: ClaimedRun, **about: Any) -> Committed:
        return await self.report(failed(run, **about))

    async def retry(self, run: ClaimedRun, delay: float = 0) -> ClaimedRun | None:
        """The attempt fails with retries left; the run as it is claimed again, if it can be at once."""
        await self.report(retried(run, delay))
        return await self.claim_again(run)

    async def hand_back(self, run: ClaimedRun) -> ClaimedRun:
        """The run is handed back, and claimed again."""
        await self.report(handed_back(run))
        again = await self.claim_again(run)
        assert again is not None
        return again

    async def claim_again(self, run: ClaimedRun) -> ClaimedRun | None:
        """The next attempt of a run, if it can be claimed. (With it any others of its task.)"""
        return next((claimed for claimed in await self.claim(100, tasks=[run.task]) if claimed.id == run.id), None)

    async def cancel(self, run: ClaimedRun | bytes, reason: str = "for a test") -> int:
        """A run is cancelled, and all below it has ended; how many runs that were."""
        cancelled = await self.store.cancel(run if isinstance(run, bytes) else run.key, reason)
        return int(cancelled) + await self.sweep()

    async def sweep(self) -> int:
        """All that is below something that is closed ends; how many runs that were."""
        ended = 0
        for _ in range(1000):
            swept = await self.store.sweep()
            ended += swept.ended
            if not swept.more:
                return ended
        raise AssertionError("it never came to an end")

    # --- looking ---------------------------------------------------------------------------------------------------

    async def get(self, run: ClaimedRun | bytes) -> RunRecord:
        return await self.store.get(run if isinstance(run, bytes) else run.key)

    async def records(self) -> dict[bytes, RunRecord]:
        """All runs, without their inputs and outputs, in one round trip."""
        page = await self.store.listing(RunFilter(limit=10_000, every=True))
        assert page.after is None
        return {record.id: record for record in page.runs}

    async def row(self, run: ClaimedRun | bytes) -> tuple[Any, ...]:
        """All columns of a run, but for who executes it."""
        id_ = run if isinstance(run, bytes) else run.key
        return next(row for row in await self.store.copy_out("run", (b"",), 10_000) if row[0] == id_)

    async def state(self, run: ClaimedRun | bytes) -> RunState:
        return (await self.get(run)).state

    async def into(self, state: RunState, *, worker: int | None = None) -> ClaimedRun:
        """A root in any state; as it was (or would be) claimed last."""
        run = await self.running(worker=worker)
        match state:
            case RunState.QUEUED:
                await self.report(handed_back(run), worker=worker)
            case RunState.COMPLETED:
                await self.complete(run)
            case RunState.FAILED:
                await self.fail(run)
            case RunState.CANCELLED:
                await self.cancel(run.key)
            case RunState.WAITING:
                await self.report(retried(run, 5), worker=worker)
            case RunState.RUNNING:
                pass
        assert await self.state(run) is state
        return run


FAILURE = '{"kind":"failed","type":"ValueError","message":"bad"}'


def completed(run: ClaimedRun, output: str = "1", **about: Any) -> Outcome:
    return Outcome(run.key, run.attempt, RunState.COMPLETED, output, **about)


def failed(run: ClaimedRun, **about: Any) -> Outcome:
    return Outcome(run.key, run.attempt, RunState.FAILED, None, FAILURE, **about)


def retried(run: ClaimedRun, delay: float = 0) -> Outcome:
    return Outcome(run.key, run.attempt, RunState.QUEUED, None, FAILURE, retry=True, delay=round(delay * SECOND))


def handed_back(run: ClaimedRun) -> Outcome:
    return Outcome(run.key, run.attempt, RunState.QUEUED)


def put_off(run: ClaimedRun, delay: float = 40) -> Outcome:
    """Its worker does not have the code for it."""
    error = encode_failure(Failure("unserved", message="it began with version '1'"))
    return Outcome(run.key, run.attempt, RunState.QUEUED, None, error, delay=round(delay * SECOND))
