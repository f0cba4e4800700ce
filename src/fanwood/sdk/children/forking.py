"""Children of a run in a fork: what the run that it is made from had finished is copied, the rest is run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.engine.inbox import SpawnRequest
from fanwood.engine.waits import Collector
from fanwood.model.commands import Finished, Record, Spawn
from fanwood.model.forks import Fork, Kept, draws_of, fork_of
from fanwood.model.lives import life_of
from fanwood.model.records import Known
from fanwood.model.states import FIRST_WAIT, RunState
from fanwood.sdk.running.answers import Answer
from fanwood.sdk.running.attempt import registering

if TYPE_CHECKING:
    from fanwood.engine.engine import Engine
    from fanwood.model.commands import Ended
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.forking import Origin


class Large(Collector):
    """A copy whose output is being read: it is as large as may be, and one of many. Who asks for the same child
    meanwhile is told as well. If it is there no more, the child is run."""

    __slots__ = ("_engine", "_origin", "_record", "_request", "_spawn", "_told")

    def __init__(self, engine: Engine, origin: Origin, record: Record, spawn: Spawn) -> None:
        super().__init__(fail_fast=False)
        self.grow(1)
        self._engine, self._origin, self._record, self._spawn = engine, origin, record, spawn
        self._told: list[tuple[Collector | None, int]] = []
        self._request = SpawnRequest(records=[record])
        origin.pending[record.identity] = self

    def add(self, collector: Collector | None, number: int) -> None:
        """Somebody wants its end. Under `registering`."""
        self._told.append((collector, number))

    def ask(self, of: bytes, attempt: Attempt, collector: Collector | None) -> Answer:
        """Begin; what says that it is written."""
        answer = Answer(self._request, collector, attempt)
        self._engine.watch(of, self, 0)
        return answer

    def put(self, index: int, finished: Ended) -> None:  # noqa: ARG002  (there is one)
        """On the engine's thread: it was read."""
        if finished.state is not RunState.COMPLETED or finished.output is None:
            self._run()
            return
        self._record.output = finished.output
        self._hand_in(records=True)
        end = Finished(RunState.COMPLETED, finished.output, None, self._spawn.kind.task)
        for collector, number in self._over():
            if collector is not None:
                collector.put(number, end)

    def fail(self, error: BaseException) -> None:  # noqa: ARG002  (it is run instead)
        """It was deleted."""
        self._run()

    def _run(self) -> None:
        self._request.records, self._request.spawns = [], [self._spawn]
        self._request.kinds, self._request.spawn_indexes = [self._spawn.kind], [0]
        self._hand_in(records=False)
        for collector, number in self._over():
            if collector is not None:
                self._engine.watch(self._spawn.id, collector, number)

    def _over(self) -> list[tuple[Collector | None, int]]:
        with registering:
            self._origin.pending.pop(self._record.identity, None)
            return self._told

    def _hand_in(self, *, records: bool) -> None:
        try:
            (self._engine.record if records else self._engine.spawn)(self._request)
        except Exception as error:  # noqa: BLE001  (the engine stops, and all who wait are told)
            self._request.answer(error)


class Copies:
    """What one request of a run in a fork copies. Under `registering`."""

    def __init__(self, engine: Engine, attempt: Attempt, origin: Origin, collector: Collector | None) -> None:
        self._engine, self._attempt, self._origin, self._collector = engine, attempt, origin, collector
        self._large: list[tuple[bytes, Large]] = []
        self._records: list[Record] = []
        self.answered: list[tuple[int, Finished]] = []  # the callers' numbers, and how those had ended

    def taken(self, request: SpawnRequest, spawn: Spawn, number: int, *, new: bool) -> bool:
        """Whether a child is copied, and not born. If it is born in a fork, that is said in `request`."""
        identity, origin = spawn.identity or b"", self._origin
        waiting = origin.pending.get(identity)
        if isinstance(waiting, Large):
            waiting.add(self._collector, number)
            return True
        kept = origin.find(identity) if new else None
        if kept is None or kept.kind >= FIRST_WAIT or kept.digest != spawn.input_digest:
            return False
        if kept.state is not RunState.COMPLETED or origin.is_way(kept):
            request.marks.append((spawn.id, _mark(origin, spawn, kept).text))
            return False
        origin.take(identity)
        self._copy(kept, spawn, identity, number)
        return True

    def _copy(self, kept: Kept, spawn: Spawn, identity: bytes, number: int) -> None:
        attempt, done, changed = self._attempt, RunState.COMPLETED, _was_changed(kept)
        if changed:
            spawn.input = kept.input
        attempt.known = {} if attempt.known is None else attempt.known
        attempt.known[identity] = spawn.id
        record = Record(
            spawn.kind, spawn.id, identity, spawn.input, done, spawn.index, spawn.child_key, kept.output,
            input_digest=spawn.input_digest, life=Fork(kept.id.hex(), "copy", changed=changed).text,
        )  # fmt: skip
        if not kept.told:
            large = Large(self._engine, self._origin, record, spawn)
            large.add(self._collector, number)
            self._large.append((kept.id, large))
            return
        self._records.append(record)
        attempt.answers = {} if attempt.answers is None else attempt.answers
        now, digest = attempt.run.attempt, spawn.input_digest
        attempt.answers[identity] = Known(identity, spawn.id, done, now, digest, True, kept.output, None)
        self.answered.append((number, Finished(done, kept.output, None, spawn.kind.task)))

    def ask(self) -> tuple[list[Answer], bool]:
        """Have them written; what says that they are, and whether to wait for that before anything else: what is not
        there yet must not be waited for by code that is unloaded."""
        answers: list[Answer] = []
        records, self._records = self._records, []
        if records:
            request = SpawnRequest(records=records)
            answers.append(Answer(request, self._collector, self._attempt))
            self._engine.record(request)
        large, self._large = self._large, []
        answers += [one.ask(of, self._attempt, self._collector) for of, one in large]
        return answers, bool(large)


def _mark(origin: Origin, spawn: Spawn, kept: Kept) -> Fork:
    """What a child is in the fork that is run again. If that one had another input, it has that; and if it had started
    over, that of its last life, of which it takes what had completed."""
    way, of, draws = origin.way_of(kept), kept.id.hex(), draws_of(kept.id, kept.life)
    takes = way is None or len(way.way) > 1
    changed = _was_changed(kept) or (takes and life_of(kept.life) is not None)
    if changed:
        spawn.input = kept.input
    if way is None:
        return Fork(of, draws=draws, changed=changed)
    if len(way.way) > 1:
        return Fork(of, way=way.way[1:], input=way.input, draws=draws, changed=changed)
    if way.input is not None:
        spawn.input = way.input
    return Fork(of, "again", changed=changed or way.input is not None)


def _was_changed(kept: Kept) -> bool:
    """Whether it had another input than it is asked for with."""
    before = fork_of(kept.life)
    return before is not None and before.changed
