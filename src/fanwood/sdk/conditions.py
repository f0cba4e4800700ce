"""Waiting for several things: all of them, or any of some. Which came first is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood import checks
from fanwood.codec import codec_for
from fanwood.durations import in_microseconds
from fanwood.engine.inbox import SpawnRequest
from fanwood.engine.waits import Collector
from fanwood.errors import UsageError
from fanwood.model.commands import Finished, Record
from fanwood.model.matching import Wanted, mark_of
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.answers import Answer
from fanwood.sdk.attempt import registering
from fanwood.sdk.events import look_back, wanted_of, window_of
from fanwood.sdk.identity import content_digest
from fanwood.sdk.outcomes import error_of
from fanwood.sdk.parts import counts
from fanwood.sdk.recording import kind_of, known_parts, write, written
from fanwood.sdk.waiting import called, wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.durations import Duration
    from fanwood.model.commands import Ended
    from fanwood.sdk.attempt import Attempt
    from fanwood.sdk.parts import Parts

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


Condition = SleepCondition | UserEventCondition


@dataclass(frozen=True, eq=False)
class OrGroup:
    """Any of these; made by `or_`."""

    conditions: tuple[Condition, ...]


def or_(*conditions: Condition) -> OrGroup:
    """Any of these conditions: the others end when one has come."""
    if not conditions:
        raise UsageError("or_() needs conditions: of none nothing can come")
    return OrGroup(tuple(_one(each) for each in conditions))


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


class _Gathering(Collector):
    """Ready as soon as of each group one has come, or of one group none can come any more."""

    __slots__ = ("_groups", "order")

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        super().__init__(fail_fast=False)
        self._groups = groups
        self.order: list[int] = []  # of those that have ended
        self.any_of = True
        self.grow(sum(len(group) for group in groups))

    def put(self, index: int, finished: Ended) -> None:
        """One has ended."""
        if self.results[index] is None:
            self.results[index] = finished
            self.order.append(index)
            if self.lost is not None or all(any(self.has_come(n) for n in group) for group in self._groups):
                self.be_ready()

    def has_come(self, index: int) -> bool:
        """Whether that one has, and was not ended otherwise."""
        finished = self.results[index]
        return finished is not None and finished.state is RunState.COMPLETED

    @property
    def lost(self) -> int | None:
        """One of a group of which none can come any more."""
        for group in self._groups:
            ended = [self.results[n] for n in group]
            if all(each is not None and each.state is not RunState.COMPLETED for each in ended):
                return group[0]
        return None


class _Member(msgspec.Struct):
    """One condition, as a child."""

    identity: bytes
    kind: RunKind
    shown: str
    span: int | None = None  # of a sleep
    wanted: Wanted | None = None  # of an event ...
    back: int | None = None  # ... and how far to look back for it
    id: bytes = b""


async def wait_for_all(attempt: Attempt, name: str, conditions: tuple[Condition | OrGroup, ...]) -> WaitResult:
    """See `Context.wait_for`."""
    attempt.check()
    name = checks.name(name, "name")
    groups = [each.conditions if isinstance(each, OrGroup) else (_one(each),) for each in conditions]
    flat = [condition for group in groups for condition in group]
    if not flat or len(flat) > MOST:
        raise UsageError(f"wait_for needs 1 to {MOST} conditions, and has {len(flat)}")
    if attempt.is_mocked:
        raise UsageError("nothing comes to a mock run: wait_for would wait for ever")
    parts = await known_parts(attempt)
    with registering:
        identity = attempt.identify(None, content_digest("~group", name.encode()))
        index = attempt.children
        attempt.children += 1 + len(flat)
    there = parts.found.pop(identity, None)
    if there is None or there.output is None:
        members = [_member(attempt, each, identity, n) for n, each in enumerate(flat)]
        came = await _gathered(attempt, parts, members, _numbered(groups), index)
        text = msgspec.json.encode({"wait": name}).decode()
        record = Record(
            kind_of(attempt, RunKind.RECORDED), attempt.host.ids.new_id(), identity, text, RunState.COMPLETED, index,
            output=msgspec.json.encode([[n, msgspec.Raw((output or "null").encode())] for n, output in came]).decode(),
        )  # fmt: skip
        answer = write(attempt, record)
        losers = [each.id for n, each in enumerate(members) if n not in dict(came)]
        if losers:
            await written(attempt, answer)  # first: what is recorded is what counts
            await _end(attempt, name, losers)
        decided = record.output
    else:
        decided = there.output
    found: list[tuple[int, Any]] = msgspec.json.decode(decided or "[]")
    return WaitResult({flat[n]: _value(flat[n], payload) for n, payload in found})


def _one(condition: Any) -> Condition:
    if not isinstance(condition, SleepCondition | UserEventCondition):
        raise checks.refused(
            "a condition", "must be a SleepCondition or a UserEventCondition, or or_() of such", condition
        )
    return condition


def _value(condition: Condition, payload: Any) -> Any:
    validator = condition.payload_validator if isinstance(condition, UserEventCondition) else None
    if validator is None:
        return payload
    return codec_for(validator).decode(msgspec.json.encode(payload), "the payload of an event")


def _numbered(groups: Sequence[Sequence[Condition]]) -> list[list[int]]:
    numbered: list[list[int]] = []
    count = 0
    for group in groups:
        numbered.append(list(range(count, count + len(group))))
        count += len(group)
    return numbered


def _member(attempt: Attempt, condition: Condition, group: bytes, number: int) -> _Member:
    if isinstance(condition, SleepCondition):
        span = in_microseconds(checks.seconds(condition.duration, "duration", zero=True))
        content, member = f"for {span}".encode(), _Member(b"", RunKind.SLEEP, _json({"for": span / 1e6}), span)
    else:
        wanted = wanted_of(condition.event_key, condition.expression, condition.match, condition.scope)
        back = window_of(attempt, condition.lookback_window)
        content, member = _json(wanted).encode(), _Member(b"", RunKind.EVENT, _json(wanted), None, wanted, back)
    member.identity = blake2b(content, digest_size=16, key=group, salt=number.to_bytes(8, "big")).digest()
    return member


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def _gathered(
    attempt: Attempt, parts: Parts, members: list[_Member], groups: list[list[int]], index: int
) -> list[tuple[int, str | None]]:
    """Which came, and with what, in this order."""
    engine, gathering, ended = attempt.host.engine(), _Gathering(groups), dict[int, Any]()
    records: list[Record] = []
    watched: list[tuple[bytes, int]] = []
    for n, member in enumerate(members):
        there = parts.found.pop(member.identity, None)
        if there is None or not counts(there, attempt.run.trial_start):
            member.id = attempt.host.ids.new_id() if there is None else there.id
            records.append(_record(attempt, member, index + 1 + n, again=there is not None))
        else:
            member.id = there.id
            if there.state.is_terminal:
                ended[n] = Finished(there.state, there.output, there.error, "")
            else:
                watched.append((there.id, n))
    for n, finished in ended.items():
        gathering.put(n, finished)
    if not gathering.ready:
        for id_, n in watched:
            engine.watch(id_, gathering, n)
        await _recorded(attempt, records, gathering, members)
        for member in members:
            if member.back is not None and member.wanted is not None:
                await look_back(attempt, member.wanted, member.id, member.back)
        with engine.waiting(gathering, [member.id for member in members]):
            await wait_for(gathering, attempt.host, None, "what is waited for")
    if (lost := gathering.lost) is not None:
        finished = gathering.results[lost]
        assert finished is not None
        raise error_of(finished, members[lost].id, finished.task or "~event")
    return [
        (n, finished.output)
        for n in list(gathering.order)
        if gathering.has_come(n) and (finished := gathering.results[n]) is not None
    ]


def _record(attempt: Attempt, member: _Member, index: int, *, again: bool) -> Record:
    began = attempt.host.engine().store.now()
    return Record(
        kind_of(attempt, member.kind), member.id, member.identity, member.shown, RunState.WAITING, index, began=began,
        due_at=None if member.span is None else began + member.span, again=again,
        awaits=None if member.wanted is None else mark_of(member.wanted),
    )  # fmt: skip


async def _recorded(attempt: Attempt, records: list[Record], gathering: _Gathering, members: list[_Member]) -> None:
    """All in one commit; `gathering` hears of them."""
    if not records:
        return
    attempt.spawned = attempt.cancel_children = True
    request = SpawnRequest(records=records)
    answer = Answer(request, None, attempt)
    numbers = {member.id: n for n, member in enumerate(members)}
    engine = attempt.host.engine()
    engine.record(request)
    await written(attempt, answer)
    for record in records:
        engine.watch(record.id, gathering, numbers[record.id])


async def _end(attempt: Attempt, name: str, losers: list[bytes]) -> None:
    """What did not come is not waited for any more."""
    engine = attempt.host.engine()
    for id_ in losers:
        await called(
            engine.call(lambda store: store.cancel(id_, f"{name} has come without it"), changes=True, steadfast=True)  # noqa: B023
        )
