"""Waiting for several things: all of them, or any of some. Which came first is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from fanwood import checks
from fanwood.codec import codec_for
from fanwood.durations import in_microseconds
from fanwood.engine.inbox import SpawnRequest
from fanwood.engine.waits import Collector
from fanwood.errors import NotInTaskError, UsageError
from fanwood.model.commands import Finished, Record
from fanwood.model.matching import Wanted, mark_of
from fanwood.model.states import WAIT_NAMES, RunKind, RunState
from fanwood.sdk.declaring.functions import is_async
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.declaring.outcomes import error_of
from fanwood.sdk.recording.losing import losing
from fanwood.sdk.recording.recording import kind_of, known_parts, taken, write, written
from fanwood.sdk.running.answers import Answer
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.parts import counts
from fanwood.sdk.running.waiting import called, wait_for
from fanwood.sdk.waits.events import look_back, wanted_of, window_of
from fanwood.store.spreading import checked_expression, holds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.durations import Duration
    from fanwood.model.commands import Ended
    from fanwood.model.matching import Event as Kept
    from fanwood.sdk.declaring.step import Step, StepInputs
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.parts import Parts

Out = TypeVar("Out")

MOST = 100
"""Conditions of one wait."""


@dataclass(frozen=True, eq=False)
class SleepCondition:
    """Comes after so long."""

    duration: Duration


@dataclass(frozen=True, eq=False)
class UserEventCondition:
    """Comes with an event: see `Context.wait_for_event`."""

    event_key: str
    expression: str | None = None
    match: dict[str, Any] | None = field(default=None, kw_only=True)
    payload_validator: Any = field(default=None, kw_only=True)
    scope: str | None = field(default=None, kw_only=True)
    lookback_window: Duration | None = field(default=None, kw_only=True)


@dataclass(frozen=True, eq=False)
class ParentCondition(Generic[Out]):
    """In a workflow's step: true if that parent was not skipped, and what it returned is such that `expression` is true
    of it: a function, or a text in CEL, of `output`. It is known at once."""

    parent: Step[Any, Out] | str
    expression: str | Callable[[Out], bool] | None = None

    @property
    def name(self) -> str:
        """That of the parent."""
        return self.parent if isinstance(self.parent, str) else self.parent.name

    def is_met(self, output: bytes | None) -> bool:
        """Whether it is true of what the parent returned; None: it was skipped. (In CEL that is `output.skipped`.)"""
        if self.expression is None:
            return output is not None
        if isinstance(self.expression, str):
            value = {"skipped": True} if output is None else msgspec.json.decode(output)
            return holds(self.expression, {"output": value})
        return output is not None and bool(self.expression(self.typed(output)))

    def typed(self, output: bytes) -> Any:
        """What the parent returned, in its type if that is known."""
        if isinstance(self.parent, str):
            return msgspec.json.decode(output)
        return self.parent.spec.output.decode(output, f"the output of {self.name}")


Condition = SleepCondition | UserEventCondition | ParentCondition[Any]


@dataclass(frozen=True, eq=False)
class OrGroup:
    """Any of these; made by `or_`."""

    conditions: tuple[Condition, ...]


def or_(*conditions: Condition | OrGroup) -> OrGroup:
    """Any of these conditions: the others end when one has come. Of an `or_` in it, any as well."""
    if not conditions:
        raise UsageError("or_() needs conditions: of none nothing can come")
    return OrGroup(tuple(one for group in groups_of(conditions) for one in group))


class WaitResult(Mapping[Condition, Any]):
    """What came, in the order in which it came: by condition the event's payload, or None for a sleep."""

    def __init__(self, came: dict[Condition, Any]) -> None:
        self._came = came

    def __getitem__(self, condition: Condition) -> Any:
        return self._came[condition]

    def __iter__(self) -> Iterator[Condition]:
        return iter(self._came)

    def __len__(self) -> int:
        return len(self._came)

    def __repr__(self) -> str:
        return f"WaitResult({self._came!r})"

    @property
    def first(self) -> Condition:
        """What came first."""
        return next(iter(self._came))


class Gathering(Collector):
    """The ends of all conditions of a wait."""

    __slots__ = ("order",)

    def __init__(self, count: int) -> None:
        super().__init__(fail_fast=False)
        self.order: list[int] = []  # of those that have ended
        self.any_of = True
        self.grow(count)

    def begin(self, ended: Mapping[int, Ended]) -> None:
        """These have ended before it is waited."""
        for number, finished in ended.items():
            self.results[number] = finished
            self.order.append(number)
        self.look()

    def put(self, index: int, finished: Ended) -> None:
        """One has ended."""
        if self.results[index] is None:
            self.results[index] = finished
            self.order.append(index)
            self.look()

    def found(self, index: int, event: Kept | None) -> None:
        """By looking back. (It is told of by its end.)"""

    def looked(self) -> None:
        """It is known what came before."""

    def look(self) -> None:
        """Whether the wait is over."""
        if not self.ready and self.is_over():
            self.be_ready()

    def is_over(self) -> bool:
        """Whether enough is known."""
        raise NotImplementedError

    def has_come(self, index: int) -> bool:
        """Whether that one has, and was not ended otherwise."""
        finished = self.results[index]
        return finished is not None and finished.state is RunState.COMPLETED

    def have_come(self, groups: Sequence[Sequence[int]]) -> bool:
        """Whether of each of these groups one has."""
        return all(any(self.has_come(n) for n in group) for group in groups)

    def lost_of(self, groups: Sequence[Sequence[int]]) -> int | None:
        """One of a group of which none can come any more."""
        for group in groups:
            ended = [self.results[n] for n in group]
            if all(each is not None and each.state is not RunState.COMPLETED for each in ended):
                return group[0]
        return None


class _AllOf(Gathering):
    """Ready as soon as of each group one has come, or of one group none can come any more."""

    __slots__ = ("_groups",)

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        super().__init__(sum(len(group) for group in groups))
        self._groups = groups

    def is_over(self) -> bool:
        return self.lost is not None or self.have_come(self._groups)

    @property
    def lost(self) -> int | None:
        """One of a group of which none can come any more."""
        return self.lost_of(self._groups)


class Member(msgspec.Struct):
    """One condition, as a child."""

    identity: bytes
    kind: RunKind
    shown: str
    span: int | None = None  # of a sleep
    wanted: Wanted | None = None  # of an event ...
    back: int | None = None  # ... and how far to look back for it
    known: Finished | None = None  # of a parent: it is no child, and was known before
    id: bytes = b""


async def wait_for_all(
    attempt: Attempt, name: str, conditions: tuple[Condition | OrGroup, ...], step: StepInputs | None = None
) -> WaitResult:
    """See `Context.wait_for`."""
    attempt.check()
    name = checks.name(name, "name")
    groups = groups_of(conditions)
    flat = [condition for group in groups for condition in group]
    if not 1 <= len(flat) <= MOST:
        raise UsageError(f"wait_for needs 1 to {MOST} conditions, and has {len(flat)}")
    if attempt.is_mocked:
        raise UsageError("nothing comes to a mock run: wait_for would wait for ever")
    parts = await known_parts(attempt)
    with registering:
        identity = attempt.identify(None, content_digest("~group", name.encode()))
        index = attempt.children
        attempt.children += 1 + len(flat)
    there = taken(attempt, parts, identity, index)
    members = [member(attempt, each, identity, n, step) for n, each in enumerate(flat)]
    below = [each for each in (one.identity for one in members) if each in parts.found]
    below += [] if there is None else [identity]
    async with losing(attempt, identity, b"", f"what {name} waits for", below=below):
        if there is None or there.output is None:
            gathering = _AllOf(numbered(groups))
            await gathered(attempt, parts, members, gathering, index)
            came = _came(gathering, members)
            out = msgspec.json.encode([[n, msgspec.Raw((output or "null").encode())] for n, output in came]).decode()
            kind, text = kind_of(attempt, RunKind.RECORDED), _json({"wait": name})
            record = Record(kind, attempt.new_id(), identity, text, RunState.COMPLETED, index, output=out)
            answer = write(attempt, record)
            if losers := losers_of(gathering, members):
                await written(attempt, answer)  # first: what is recorded is what counts
                await end(attempt, name, losers)
            decided, attempt.replay = record.output, None
        else:
            decided = there.output
            parted = [parts.found.pop(each.identity, None) for each in members]
            attempt.asks("", identity, *(each.identity for each in members))
            await end(attempt, name, [each.id for each in parted if each is not None and not each.state.is_terminal])
            attempt.given((there.id,))
    found: list[tuple[int, Any]] = msgspec.json.decode(decided or "[]")
    return WaitResult({flat[n]: _value(flat[n], payload) for n, payload in found})


def groups_of(conditions: Sequence[Condition | OrGroup]) -> list[tuple[Condition, ...]]:
    """Of each of these groups one must come.

    Raises:
        UsageError: something else is among them.
    """
    return [each.conditions if isinstance(each, OrGroup) else (checked(each),) for each in conditions]


def checked(condition: Any) -> Condition:
    """A condition, if it is one.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(condition, SleepCondition | UserEventCondition | ParentCondition):
        raise checks.refused(
            "a condition",
            "must be a SleepCondition, a UserEventCondition or a ParentCondition, or or_() of such",
            condition,
        )
    if isinstance(condition, ParentCondition):
        given = cast("Any", condition)
        parent, expression = given.parent, given.expression
        if not isinstance(parent, str) and not (hasattr(parent, "name") and hasattr(parent, "spec")):
            raise checks.refused("the parent of a ParentCondition", "must be a step, or the name of one", parent)
        if isinstance(expression, str):
            checked_expression(expression, "output")
        elif expression is not None and (not callable(expression) or is_async(expression)):
            raise checks.refused("expression", "must be a plain function of the parent's output, or in CEL", expression)
    return cast("Condition", condition)


def _value(condition: Condition, payload: Any) -> Any:
    if isinstance(condition, ParentCondition):
        return None if payload is None else condition.typed(msgspec.json.encode(payload))  # (None: it was skipped)
    validator = condition.payload_validator if isinstance(condition, UserEventCondition) else None
    about = "the payload of an event"
    return payload if validator is None else codec_for(validator).decode(msgspec.json.encode(payload), about)


def numbered(groups: Sequence[Sequence[Condition]]) -> list[list[int]]:
    """The same groups, of numbers."""
    found: list[list[int]] = []
    count = 0
    for group in groups:
        found.append(list(range(count, count + len(group))))
        count += len(group)
    return found


def member(attempt: Attempt, condition: Condition, group: bytes, number: int, step: StepInputs | None) -> Member:
    """A condition as a child of the run. `step`: what a workflow's step knows of its parents.

    Raises:
        UsageError: it can't come to this run.
    """
    if isinstance(condition, ParentCondition):
        return Member(b"", RunKind.RECORDED, "", known=_of_parent(attempt, condition, step))
    if isinstance(condition, SleepCondition):
        span = in_microseconds(checks.seconds(condition.duration, "duration", zero=True))
        content, made = f"for {span}".encode(), Member(b"", RunKind.SLEEP, _json({"for": span / 1e6}), span)
    else:
        wanted = wanted_of(condition.event_key, condition.expression, condition.match, condition.scope)
        back = window_of(attempt, condition.lookback_window)
        content, made = _json(wanted).encode(), Member(b"", RunKind.EVENT, _json(wanted), None, wanted, back)
    made.identity = blake2b(content, digest_size=16, key=group, salt=number.to_bytes(8, "big")).digest()
    return made


def _of_parent(attempt: Attempt, condition: ParentCondition[Any], step: StepInputs | None) -> Finished:
    if step is None:
        raise NotInTaskError(f"a ParentCondition needs a workflow's step, and {attempt.spec.name} is a task by itself")
    output = step.outputs.get(condition.name)
    if output is None and condition.name not in step.skipped:
        known = ", ".join(sorted([*step.outputs, *step.skipped])) or "none"
        raise UsageError(f"{condition.name} is no parent of {attempt.spec.name}: its parents are: {known}")
    text = None if output is None else bytes(output)
    state = RunState.COMPLETED if condition.is_met(text) else RunState.FAILED
    return Finished(state, None if text is None else text.decode(), None, condition.name)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def gathered(attempt: Attempt, parts: Parts, members: list[Member], gathering: Gathering, index: int) -> None:
    """Wait until enough has come."""
    engine = attempt.host.engine()
    ended: dict[int, Ended] = {}
    records: list[Record] = []
    watched: list[tuple[bytes, int]] = []
    for n, one in enumerate(members):
        if one.known is not None:
            ended[n] = one.known
            continue
        there = taken(attempt, parts, one.identity, index + 1 + n)
        attempt.asks(f"{WAIT_NAMES[one.kind]} {one.shown}", one.identity)
        if there is None or not counts(there, attempt.run.trial_start):
            one.id = attempt.new_id() if there is None else there.id
            records.append(_record(attempt, one, index + 1 + n, again=there is not None))
        else:
            one.id = there.id
            if there.state.is_terminal:
                ended[n] = Finished(there.state, there.output, there.error, "")
            else:
                watched.append((there.id, n))
    gathering.begin(ended)
    if gathering.ready:
        for record in records:  # they are not waited for, and never were
            next(one for one in members if one.id == record.id).id = b""
        return
    for id_, n in watched:
        engine.watch(id_, gathering, n)
    await _recorded(attempt, records, gathering, members)
    for n, one in enumerate(members):
        if one.back is not None and one.wanted is not None:
            gathering.found(n, await look_back(attempt, one.wanted, one.id, one.back))
    gathering.looked()
    with engine.waiting(gathering, [one.id for one in members]):
        await wait_for(gathering, attempt.host, None, "what is waited for")


def _came(gathering: _AllOf, members: list[Member]) -> list[tuple[int, str | None]]:
    """Which came, and with what, in this order.

    Raises:
        TaskRunError: somebody ended what could have come.
        UsageError: none of them could.
    """
    if (lost := gathering.lost) is not None:
        finished = gathering.results[lost]
        assert finished is not None
        if members[lost].known is not None:
            raise UsageError(
                f"what is waited for can't come: {finished.task} did not return what its condition asks for"
            )
        raise error_of(finished, members[lost].id, finished.task or "~event")
    return [
        (n, finished.output)
        for n in list(gathering.order)
        if gathering.has_come(n) and (finished := gathering.results[n]) is not None
    ]


def losers_of(gathering: Gathering, members: list[Member]) -> list[bytes]:
    """What is waited for no more."""
    return [one.id for n, one in enumerate(members) if one.id and gathering.results[n] is None]


def _record(attempt: Attempt, one: Member, index: int, *, again: bool) -> Record:
    began = attempt.host.engine().store.now()
    return Record(
        kind_of(attempt, one.kind), one.id, one.identity, one.shown, RunState.WAITING, index, began=began,
        due_at=None if one.span is None else began + one.span, again=again,
        awaits=None if one.wanted is None else mark_of(one.wanted),
    )  # fmt: skip


async def _recorded(attempt: Attempt, records: list[Record], gathering: Gathering, members: list[Member]) -> None:
    """All in one commit; `gathering` hears of them."""
    if not records:
        return
    attempt.spawned = attempt.cancel_children = True
    answer = Answer(request := SpawnRequest(records=records), None, attempt)
    numbers = {one.id: n for n, one in enumerate(members)}
    (engine := attempt.host.engine()).record(request)
    await written(attempt, answer)
    for record in records:
        engine.watch(record.id, gathering, numbers[record.id])


async def end(attempt: Attempt, name: str, losers: list[bytes]) -> None:
    """What did not come is not waited for any more."""
    engine = attempt.host.engine()
    for id_ in losers:
        await called(
            engine.call(lambda store: store.cancel(id_, f"{name} has come without it"), changes=True, steadfast=True)  # noqa: B023
        )
