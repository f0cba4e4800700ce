"""What a run records of its own (`Parts`): children that no worker executes. Code that asks for one again, in a later
attempt, finds what was recorded: all of it is read once, and nothing is written."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fanwood.engine.inbox import Joint, SpawnRequest
from fanwood.engine.signals import Signal
from fanwood.engine.waits import Collector
from fanwood.model.commands import Record, SpawnKind
from fanwood.model.forks import Fork
from fanwood.model.naming import VERSION, part_id, version_id
from fanwood.model.records import Recorded
from fanwood.model.states import FIRST_WAIT, WAIT_NAMES, OnParentEnd, RunKind, RunState
from fanwood.sdk.recording.origins import learn_origin
from fanwood.sdk.running.answers import Answer
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.parts import Parts, counts
from fanwood.sdk.running.reading import Reading
from fanwood.sdk.running.waiting import begins, called, heard, in_turns, interruptible, wait_for

if TYPE_CHECKING:
    from fanwood.model.commands import Ended
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.forking import Origin

PAGE = 1000


def parts_of(attempt: Attempt) -> Parts:
    """Those of an attempt, read or not. Under `registering`."""
    if attempt.parts is None:
        attempt.parts = Parts(Reading(is_read=attempt.is_first and attempt.fork is None))
    return attempt.parts


async def known_parts(attempt: Attempt) -> Parts:
    """Those of an attempt, with all that earlier ones recorded."""
    with registering:
        parts = parts_of(attempt)
    if not parts.reading.is_over:
        await parts.reading.passed(partial(heard, attempt), lambda: _read(attempt, parts))
    if parts.found:
        await in_turns(attempt)
    return parts


async def _read(attempt: Attempt, parts: Parts) -> None:
    if attempt.fork is not None:
        await learn_origin(attempt, attempt.fork)
    if attempt.is_first:
        return
    engine, after, waits, is_whole = attempt.host.engine(), attempt.floor, False, False
    page = await engine.little(attempt.id, after)
    while not is_whole:
        if page is None:
            start = after
            page = await called(
                engine.call(lambda store: store.recorded(attempt.id, start, PAGE), steadfast=True)  # noqa: B023
            )
        mine = page if attempt.life is None else [each for each in page if each.asked >= attempt.since]
        parts.found.update((each.identity, each) for each in mine)
        waits = waits or any(each.state is RunState.WAITING for each in mine)
        if attempt.same is not None:
            attempt.same.recorded.update((each.identity, each.id) for each in mine if each.state.is_terminal)
        after = page[-1].id if page else after
        is_whole, page = len(page) < PAGE, None
    if waits and attempt.new_limit is not None:  # what waits has its deadline from the attempt before
        engine.move_deadline(attempt.id, attempt.run.attempt, attempt.new_limit)


def found_in(attempt: Attempt, parts: Parts, identity: bytes, shown: str, *, keep: bool = False) -> Recorded | None:
    """What the run has recorded under this identity. `shown`: what is asked for. `keep`: for who asks again.

    Raises:
        NonDeterminismError: the code does not ask any more for what it had asked for.
    """
    attempt.asks(shown, identity)
    found = parts.found.get(identity) if keep else parts.found.pop(identity, None)
    if found is None and attempt.fork is not None:
        found = copied(attempt, attempt.fork, identity)
        if found is not None and keep:
            parts.found[identity] = found
    if found is None or not counts(found, attempt.run.trial_start):
        attempt.replay = None  # this is new
    elif found.state.is_terminal:
        attempt.given((found.id,))
    return found


def taken(attempt: Attempt, parts: Parts, identity: bytes, index: int | None = None) -> Recorded | None:
    """What the run has recorded under this identity, or that of which it is a fork. `index`: which child it is, if that
    is known."""
    found = parts.found.pop(identity, None)
    return copied(attempt, attempt.fork, identity, index) if found is None and attempt.fork is not None else found


def copied(attempt: Attempt, origin: Origin, identity: bytes, index: int | None = None) -> Recorded | None:
    """What the run has recorded of which this one is a fork: it is recorded here as well, as it is asked for. (Not
    waited for: it goes before whatever is written next.)"""
    kept = origin.take(identity)
    if kept is None or kept.kind < FIRST_WAIT:
        return None
    if index is None:
        index = attempt.children
        attempt.children += 1
    id_ = part_id(attempt.origin, identity) if kept.kind is RunKind.PROMISE else attempt.new_id()
    if identity == VERSION:
        id_ = version_id(attempt.origin)
    kind, life = kind_of(attempt, kept.kind), Fork(kept.id.hex(), "copy").text
    done, key = RunState.COMPLETED, kept.child_key
    note(attempt, Record(kind, id_, identity, kept.input, done, index, key, output=kept.output, life=life))
    return Recorded(identity, id_, done, kept.output, None, attempt.run.attempt)


def kind_of(attempt: Attempt, run_kind: RunKind) -> SpawnKind:
    """What a part has from its parent."""
    run = attempt.run
    waits = run_kind is not RunKind.RECORDED
    deadline, owner = attempt.child_deadline(waited=waits, policy=OnParentEnd.CANCEL)
    return SpawnKind(
        WAIT_NAMES[run_kind],
        parent_id=attempt.id,
        parent_attempt=run.attempt,
        root_id=attempt.root,
        depth=run.depth + 1,
        priority=run.priority,
        deadline=deadline,
        deadline_by=owner,
        on_parent_end=OnParentEnd.CANCEL,
        run_kind=run_kind,
    )


def write(attempt: Attempt, record: Record, collector: Collector | None = None, *, needed: bool = False) -> Answer:
    """Have it recorded. `collector` wants its end, if it has not ended by that; `needed`: see `note`."""
    if attempt.parts is not None:
        attempt.parts.joint = None  # what comes from now on comes after this
    request = SpawnRequest(records=[record], collector=collector, needed=needed)
    answer = Answer(request, collector, attempt)
    attempt.host.engine().record(request)
    return answer


def note(attempt: Attempt, record: Record) -> None:
    """Have it recorded, and don't wait: it goes before whatever is written next. If it can't be, the run fails."""
    write(attempt, record, needed=True)


class Written:
    """The answer to a step that was written with others."""

    __slots__ = ("error", "signal", "signal_is_answer")

    def __init__(self) -> None:
        self.signal = Signal()
        self.signal_is_answer = False
        self.error: BaseException | None = None

    def tell(self, error: BaseException | None) -> None:
        """On the engine's thread."""
        self.error, self.signal_is_answer = error, True
        self.signal.fire()


def write_step(attempt: Attempt, parts: Parts, record: Record) -> Written:
    """Have a step recorded, with those of the same attempt that the engine has not taken yet. It must be waited for:
    nothing else of the attempt is written before it."""
    attempt.replay = None  # this is new
    answer, engine, joint = Written(), attempt.host.engine(), parts.joint
    if joint is None or not engine.join(joint, record, answer.tell):
        parts.joint = joint = Joint(records=[record], told=[answer.tell])
        engine.record(joint)
    return answer


async def written(attempt: Attempt, answer: Answer | Written) -> None:
    """Returns when it is committed.

    Raises:
        SpawnError: it can't be: the attempt is over.
    """
    if not answer.signal.fired:
        with interruptible(attempt, answer.signal):
            await answer.signal.wait()
        if not answer.signal_is_answer:
            attempt.check()
    if answer.error is not None:
        raise answer.error


def one_end() -> Collector:
    """For the end of one."""
    collector = Collector(fail_fast=False)
    collector.grow(1)
    collector.close()
    return collector


async def awaited(attempt: Attempt, run_id: bytes, what: str, collector: Collector | None = None) -> Ended:
    """Wait for the end of what waits. `collector`: it was recorded with it."""
    engine = attempt.host.engine()
    if collector is None:
        await begins(attempt)
        collector = one_end()
        engine.watch(run_id, collector, 0)
    with engine.waiting(collector, [run_id]):
        await wait_for(collector, attempt.host, None, what)
    attempt.replay = None
    ended = collector.results[0]
    assert ended is not None
    return ended
