"""Groups: children that are asked for together, and that end together, whatever happens.

How a group came out is decided once. Where that leaves some of its members out (losers of a race, what was under way at
a failure), the decision is a step that the run records, before any of them is cancelled. Code that runs again asks for
it first: then members are taken as they stand, nothing is decided anew, and no loser is run again.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fanwood import checks
from fanwood.durations import in_microseconds
from fanwood.engine.signals import block
from fanwood.engine.waits import Stream
from fanwood.errors import FailedTaskRunExceptionGroup, RunInterrupted, UsageError, WaitTimeoutError
from fanwood.model.commands import Record
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.children.decisions import Decision, GroupOptions, left_out_of, ranges_of
from fanwood.sdk.children.ended import Completed, outcome_of
from fanwood.sdk.children.members import Members
from fanwood.sdk.children.owning import abandon, owning
from fanwood.sdk.children.refs import TaskRunRef, ref_for
from fanwood.sdk.children.streams import Streams
from fanwood.sdk.children.undisturbed import Undisturbed
from fanwood.sdk.declaring.identity import content_digest, part_identity
from fanwood.sdk.declaring.options import NOT_GIVEN, merged
from fanwood.sdk.recording.once import in_a_step
from fanwood.sdk.recording.outlasting import broken_off
from fanwood.sdk.recording.recording import kind_of, known_parts, write, written
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.own import ordered
from fanwood.sdk.running.waiting import called, wait_for
from fanwood.store.cancelling import cancel_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self, Unpack

    from fanwood.model.commands import Ended
    from fanwood.model.records import RunRecord
    from fanwood.sdk.children.ended import Outcome
    from fanwood.sdk.declaring.options import RunOptions, TriggerWorkflowOptions
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.parts import Parts

In = TypeVar("In")
Out = TypeVar("Out")

PAGE = 500
"""Rows read at a time."""


class Group:
    """See `Context.group`."""

    def __init__(self, attempt: Attempt, how: GroupOptions) -> None:
        self._attempt = attempt
        self._how = how
        self._members: Members | None = None
        self._identity = b""
        self._decided: Decision | None = None  # by an attempt before this one
        self._deadline: int | None = None
        self._ended: dict[int, Ended] = {}
        self._failures: list[int] = []
        self._successes: list[int] = []
        self._enough = False
        self._detached: set[int] = set()
        self._left_out: list[int] = []  # by an attempt before
        self._refs: dict[int, TaskRunRef[Any]] = {}  # those that were given out of members that have not ended
        self._outcomes: list[Outcome[Any]] | None = None

    # --- inside ----------------------------------------------------------------------------------------------------

    def spawn(
        self,
        task: Streams[In, Out],
        input: In | Mapping[str, Any] = NOT_GIVEN,
        options: TriggerWorkflowOptions | None = None,
        **given: Unpack[RunOptions],
    ) -> TaskRunRef[Out]:
        """Ask for one more member; its reference, at once.

        Raises:
            UsageError: not inside the group, or an option that can't be.
            InputValidationError: the input doesn't fit.
        """
        members = self._members
        if members is None or self._outcomes is not None:
            raise UsageError("a group takes members between its beginning and its end: `async with ctx.group() as g:`")
        self._attempt.check()
        if not isinstance(task, Streams):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise checks.refused("what is spawned", "must be a task or workflow", task)
        item = task.asked_for(input, merged(options, given, input, task.name))
        if self._decided is None:
            run = members.add(item)
        else:
            run = members.reserve(item)
            if self._decided.leaves_out(number := len(members.all) - 1) or number not in members.living:
                return self._left_out_before(members, number, self._decided)
        number = len(members.all) - 1
        ref = self._refs[number] = ref_for(self._attempt.host, run.id, run.spec)
        ref.comes_by(members.births.get(number) or members.birth(number))
        return ref

    def _left_out_before(self, members: Members, number: int, decision: Decision) -> TaskRunRef[Any]:
        """A member that an attempt before this one left out. It had not ended then, whoever waited for it inside: so it
        does not end before the block does, or after all others where other code may wait for it now."""
        run, birth = members.all[number], members.birth(number)
        end = self._ended[number] = left_out_of(run, decision)
        members.living.pop(number, None)
        self._left_out.append(number)
        ref = self._refs[number] = ref_for(self._attempt.host, run.id, run.spec)
        ref.comes_by(birth)
        if self._attempt.spec.durable is not None:
            birth.is_held = True
        else:
            birth.comes_last = True
            ref.take_end(end)
        return ref

    def detach(self, ref: TaskRunRef[Any]) -> None:
        """Leave this member out of the group: nothing waits for it, and it goes on when the group is over.

        Raises:
            UsageError: it is none of the group's.
        """
        members = self._members
        if not isinstance(ref, TaskRunRef):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise checks.refused("ref", "must be the reference of a member, which spawn(...) has returned", ref)
        number = next((n for n, run in enumerate(members.all) if run.id == ref.key), None) if members else None
        if members is None or number is None:
            raise UsageError(f"run {ref} is no member of this group")
        self._detached.add(number)
        members.living.pop(number, None)
        members.stream.release(number)

    # --- afterwards ------------------------------------------------------------------------------------------------

    @property
    def outcomes(self) -> list[Outcome[Any]]:
        """How each member came out, in the order of spawning; without those that were detached.

        Raises:
            UsageError: the group has not ended.
        """
        if self._outcomes is None:
            raise UsageError("a group has outcomes when it has ended: after its block")
        return self._outcomes

    @property
    def winner(self) -> Completed[Any] | None:
        """The member that completed first; of a group that was decided before, the first of those that completed."""
        completed = [outcome for outcome in self.outcomes if isinstance(outcome, Completed)]
        return min(completed, key=lambda outcome: (outcome.finished_at, outcome.run_id), default=None)

    # --- its block -------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._end(error)

    def __enter__(self) -> Self:
        block(self._begin(), "group", "async with ctx.group(...)")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        block(self._end(error), "group", "async with ctx.group(...)")

    async def _begin(self) -> None:
        attempt, name = self._attempt, self._how.name
        attempt.check()
        if self._members is not None:
            raise UsageError("a group is for one block: make another by ctx.group()")
        if name is None:
            ordered(attempt, "ctx.group", in_a_step=in_a_step())
        entering = Undisturbed(attempt)
        parts = await entering.learn(lambda: known_parts(attempt))
        with registering:
            if name is None:
                self._identity = attempt.identify(None, content_digest("~group", b""))
            else:
                self._identity = attempt.mine(part_identity("group", name))
                if self._identity in parts.under_way:
                    raise UsageError(
                        f"the group {name!r} is under way already in this run: give each a name of its own"
                    )
                parts.under_way.add(self._identity)
        try:
            await entering.learn(self._make_members(parts).begin)
            parts.found.pop(self._identity, None)
        except BaseException:  # the block is not entered, and may be begun anew
            self._members = None
            self._forget_name()
            raise
        entering.entered()

    def _make_members(self, parts: Parts) -> Members:
        attempt = self._attempt
        if self._how.deadline is not None:
            self._deadline = self._began(parts) + in_microseconds(checks.seconds(self._how.deadline, "deadline"))
        found = parts.found.get(self._identity)
        if found is not None and found.output is not None:
            attempt.asks("", self._identity)
            self._decided = msgspec.json.decode(found.output, type=Decision)
            attempt.given((found.id,))
        self._members = Members(attempt, self._how.limit, self._deadline, self._identity)
        return self._members

    def _began(self, parts: Parts) -> int:
        """When the group was begun, by the first attempt that did."""
        identity = part_identity("group's beginning", self._identity.hex())
        found = parts.found.get(identity)
        self._attempt.asks("a group's beginning", identity)
        if found is not None and found.output is not None:
            return int(found.output)
        now = self._attempt.host.engine().store.now()
        self._record(identity, str(now), "began")
        return now

    def _record(self, identity: bytes, output: str, what: str) -> Any:
        attempt = self._attempt
        with registering:
            index = attempt.children
            attempt.children += 1
        shown = msgspec.json.encode({"group": self._how.name or "", "what": what}).decode()
        now = attempt.host.engine().store.now()
        kind, id_ = kind_of(attempt, RunKind.RECORDED), attempt.new_id()
        done = RunState.COMPLETED
        record = Record(kind, id_, identity, shown, done, index, output=output, began=now)
        return write(attempt, record, needed=True)

    async def _end(self, error: BaseException | None) -> None:
        members = self._members
        assert members is not None
        try:
            if error is None:
                with owning(members):
                    await self._decide(members)
            else:
                await self._break_off(members, error)
        except Exception as problem:
            if self._outcomes is None:  # else it is the group's own
                await self._break_off(members, problem)
            raise
        finally:
            if self._outcomes is None:
                self._outcomes = []  # who waited for them was cancelled
            members.shut()
            self._forget_name()

    def _forget_name(self) -> None:
        if self._how.name is not None and self._attempt.parts is not None:
            with registering:
                self._attempt.parts.under_way.discard(self._identity)

    async def _break_off(self, members: Members, error: BaseException) -> None:
        """The block raised: nothing is decided. What is under way is cancelled, if the attempt goes on."""
        self._leave_out(members, members.stream.stop(), Decision())
        self._outcomes = []
        if isinstance(error, asyncio.CancelledError | RunInterrupted):
            with contextlib.suppress(asyncio.CancelledError, RunInterrupted), owning(members):
                raise error
        elif isinstance(error, Exception):
            members.lost = broken_off(error)
            await abandon(members)

    # --- how it comes out ------------------------------------------------------------------------------------------

    async def _decide(self, members: Members) -> None:
        if self._decided is None:
            self._check_quorum(members)
            await self._wait(members)
            decision = await self._settle(members)
        else:
            decision = self._decided
            await self._look(members)
            await self._end_left_out(members, decision)
        self._leave_out(members, list(members.living), decision)
        members.living.clear()
        self._outcomes = await self._with_times(members)
        self._raise(members, decision)

    def _leave_out(self, members: Members, numbers: list[int], decision: Decision) -> None:
        """These came to nothing, also if one of them has ended by now: code that is run again is told the same."""
        for number in {*numbers, *self._left_out}:
            end = self._ended[number] = left_out_of(members.all[number], decision)
            if number in self._refs:
                self._refs[number].take_end(end)
                members.births[number].left_out(end)

    def _check_quorum(self, members: Members) -> None:
        if self._how.quorum is not None and len(members.living) < self._how.quorum:
            raise UsageError(f"a quorum of {self._how.quorum} can't be had of {len(members.living)} members")

    async def _wait(self, members: Members) -> None:
        """Until enough is known."""
        store = self._attempt.host.engine().store
        members.stream.enough = lambda: self._how.enough(
            len(members.living), len(self._successes), len(self._failures), len(members.all)
        )
        while True:
            self._take(members)
            if self._is_over(members):
                return
            if self._deadline is not None and store.now() >= self._deadline:
                await self._take_all(members, self._deadline)
                return
            left = None if self._deadline is None else max(0.001, (self._deadline - store.now()) / 1e6)
            if self._attempt.unloading is not None:
                left = None  # who is under way has the deadline as well: its end comes, also to whom is suspended
            with contextlib.suppress(WaitTimeoutError):
                await wait_for(members.stream, self._attempt.host, left, "a group", members.tasks)

    def _take(self, members: Members) -> None:
        for number, ended in members.stream.take():
            self._note(members, number, ended)

    async def _take_all(self, members: Members, deadline: int) -> None:
        """What had ended in time counts, and is on its way here: who was unloaded comes here when its time is over."""
        engine, coming = self._attempt.host.engine(), set[bytes]()
        living = [run.id for run in members.living.values()]
        for start in range(0, len(living), PAGE):
            page = living[start : start + PAGE]
            found = await called(engine.call(lambda store: store.briefs(page), steadfast=True))  # noqa: B023
            coming.update(run.id for run in found if run.finished_at is not None and run.finished_at < deadline)
        self._take(members)
        while not self._is_over(members) and any(run.id in coming for run in members.living.values()):
            await wait_for(members.stream, self._attempt.host, None, "a group", members.tasks)
            self._take(members)

    def _note(self, members: Members, number: int, ended: Ended) -> None:
        run = members.living.pop(number, None)
        if run is None:
            return  # it was detached
        self._ended[number] = ended
        self._attempt.given((run.id,))
        (self._successes if ended.state is RunState.COMPLETED else self._failures).append(number)
        if self._how.until is not None and not self._enough:
            self._enough = bool(self._how.until(outcome_of(run, ended, None)))

    def _is_over(self, members: Members) -> bool:
        how = self._how
        if self._enough or not members.living:
            return True
        if how.quorum is not None:
            reached = len(self._successes) >= how.quorum
            return reached or len(self._successes) + len(members.living) < how.quorum
        return how.on_error == "cancel" and not how.tolerates(len(self._failures), len(members.all))

    async def _settle(self, members: Members) -> Decision:
        """Record what is decided, unless all completed; and cancel who is left out."""
        members.stream.stop()
        late = self._deadline is not None and self._attempt.host.engine().store.now() >= self._deadline
        decision = Decision(ranges_of(sorted(members.living)), timed_out=late and bool(members.living))
        members.lost = decision.because
        decision.failed = self._failed(members, timed_out=decision.timed_out)
        if members.living or self._failures:
            answer = self._record(self._identity, msgspec.json.encode(decision).decode(), "decided")
            if members.living:
                await written(self._attempt, answer)
                await abandon(members)
        return decision

    def _failed(self, members: Members, *, timed_out: bool) -> str:
        """Why the group failed; empty if it did not."""
        how, failures, successes = self._how, len(self._failures), len(self._successes)
        if how.on_error == "collect" or self._enough:
            return ""
        if how.quorum is not None and successes < how.quorum:
            return f"{successes} of the {how.quorum} that were to complete did"
        if how.quorum is None and timed_out:
            return f"its time was over, and {len(members.living)} had not ended"
        if (how.quorum is None or how.tolerate is not None) and not how.tolerates(failures, len(members.all)):
            return f"{failures} failed"
        return ""

    async def _look(self, members: Members) -> None:
        """The ends of a group that was decided before, as they stand."""
        engine = self._attempt.host.engine()
        stream = Stream()
        stream.grow(len(members.all))
        living = {number: run for number, run in members.living.items() if number not in self._detached}
        engine.watch_all([run.id for run in living.values()], stream, list(living))
        try:
            while living:
                for number, ended in stream.take():
                    if living.pop(number, None) is not None:
                        members.living.pop(number, None)
                        self._ended[number] = ended
                        (self._successes if ended.state is RunState.COMPLETED else self._failures).append(number)
                if living:
                    await wait_for(stream, self._attempt.host, None, "a group")
        finally:
            if living:
                engine.give_up(stream, [run.id for run in living.values()])

    async def _end_left_out(self, members: Members, decision: Decision) -> None:
        """Who decided may have died before these were cancelled."""
        engine = self._attempt.host.engine()
        ids = [run.id for number, run in enumerate(members.all) if decision.leaves_out(number)]
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            found = await called(engine.call(lambda store: store.briefs(page), steadfast=True))  # noqa: B023
            if living := [record.id for record in found if not record.state.is_terminal]:
                verb = partial(cancel_all, ids=living, reason=decision.because)
                await called(engine.call(verb, changes=True, steadfast=True))

    async def _with_times(self, members: Members) -> list[Outcome[Any]]:
        numbers = [number for number in range(len(members.all)) if number not in self._detached]
        records, engine = dict[bytes, "RunRecord"](), self._attempt.host.engine()
        for start in range(0, len(numbers), PAGE):
            ids = [members.all[number].id for number in numbers[start : start + PAGE]]
            found = await called(engine.call(lambda store: store.briefs(ids), steadfast=True))  # noqa: B023
            records.update((record.id, record) for record in found)
        return [
            outcome_of(members.all[number], self._ended[number], records.get(members.all[number].id))
            for number in numbers
        ]

    def _raise(self, members: Members, decision: Decision) -> None:
        """What the block raises at its end, if the group failed."""
        if not decision.failed:
            return
        numbers = [number for number in range(len(members.all)) if number not in self._detached]
        errors: list[Any] = []
        for number, outcome in zip(numbers, self.outcomes, strict=True):
            if isinstance(outcome, Completed) or (decision.leaves_out(number) and not decision.timed_out):
                continue
            errors += outcome.error.exceptions if isinstance(outcome.error, ExceptionGroup) else [outcome.error]
        who = f"group {self._how.name}" if self._how.name is not None else "a group"
        raise FailedTaskRunExceptionGroup(f"{who} of {len(members.all)}: {decision.failed}", errors)
