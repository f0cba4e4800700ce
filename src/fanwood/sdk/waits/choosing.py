"""Whether a step of a workflow runs, is skipped, or is cancelled: by its conditions, once its parents are done. What is
decided is recorded, and stands for every attempt of the workflow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.errors import TaskRunCancelled
from fanwood.ids import id_text
from fanwood.model.commands import Failure, Finished, Record
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.identity import part_identity
from fanwood.sdk.declaring.outcomes import error_of
from fanwood.sdk.recording.recording import found_in, kind_of, known_parts, write, written
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.parts import counts
from fanwood.sdk.waits.conditions import (
    Condition,
    Gathering,
    OrGroup,
    ParentCondition,
    SleepCondition,
    end,
    gathered,
    groups_of,
    losers_of,
    member,
    numbered,
)
from fanwood.sdk.waits.events import wanted_of
from fanwood.store.failures import decode_failure, encode_failure

if TYPE_CHECKING:
    from fanwood.model.matching import Event
    from fanwood.model.records import Recorded
    from fanwood.sdk.declaring.step import Step, StepInputs
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.waits.conditions import Member

Given = Condition | OrGroup | Iterable[Condition | OrGroup]
Groups = tuple[tuple[Condition, ...], ...]


class Choice(StrEnum):
    """What becomes of a step."""

    RUN = "run"
    SKIP = "skipped"
    CANCEL = "cancelled"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Those of one step, each as groups: of each group one must come."""

    wait_for: Groups = ()
    skip_if: Groups = ()
    cancel_if: Groups = ()

    @classmethod
    def of(cls, wait_for: Given, skip_if: Given, cancel_if: Given) -> Conditions:
        """What was given, checked.

        Raises:
            UsageError: it can't be.
        """
        return cls(_groups(wait_for), _groups(skip_if), _groups(cancel_if))

    @property
    def all(self) -> list[tuple[str, Groups]]:
        """By the names of the options."""
        return [("wait_for", self.wait_for), ("skip_if", self.skip_if), ("cancel_if", self.cancel_if)]

    @property
    def flat(self) -> list[Condition]:
        """All of them."""
        return [condition for _, groups in self.all for group in groups for condition in group]

    @property
    def parents(self) -> list[Step[Any, Any] | str]:
        """The steps that they name."""
        return [condition.parent for condition in self.flat if isinstance(condition, ParentCondition)]


def _groups(given: Given) -> Groups:
    conditions = given if isinstance(given, Iterable) else (given,)
    groups = tuple(groups_of(list(conditions)))
    for condition in (condition for group in groups for condition in group):
        if isinstance(condition, SleepCondition | ParentCondition):
            continue
        wanted_of(condition.event_key, condition.expression, condition.match, condition.scope)
    return groups


class _Choosing(Gathering):
    """Ready as soon as the step is to be cancelled, skipped or run. If several are true at once, the first of these."""

    __slots__ = ("_has_looked", "choice", "groups")

    def __init__(self, conditions: Conditions, *, looks_back: bool) -> None:
        every = numbered([group for _, groups in conditions.all for group in groups])
        super().__init__(sum(len(group) for group in every))
        self.groups: dict[Choice, list[list[int]]] = {}
        for choice, (_, groups) in zip((Choice.RUN, Choice.SKIP, Choice.CANCEL), conditions.all, strict=True):
            self.groups[choice], every = every[: len(groups)], every[len(groups) :]
        self._has_looked = not looks_back
        self.choice: Choice | None = None

    def is_over(self) -> bool:
        """Whether it is decided."""
        for choice in (Choice.CANCEL, Choice.SKIP):
            if self.groups[choice] and self.have_come(self.groups[choice]):
                self.choice = choice
                return True
        if self._has_looked and self.have_come(self.groups[Choice.RUN]):
            self.choice = Choice.RUN
        return self.choice is not None or self.lost is not None

    @property
    def lost(self) -> int | None:
        """What it waits for, if that can't come any more."""
        return self.lost_of(self.groups[Choice.RUN])

    def found(self, index: int, event: Event | None) -> None:
        """What came before decides, before it runs."""
        if event is not None:
            self.put(index, Finished(RunState.COMPLETED, event.payload, None))

    def looked(self) -> None:
        """It may run."""
        self._has_looked = True
        self.look()


class Verdict(msgspec.Struct):
    """What was decided, why, and the id of the child that says so."""

    decided: Choice
    because: str
    id: bytes = b""

    def error(self, task: str) -> TaskRunCancelled:
        """Of a step that was cancelled."""
        return TaskRunCancelled(id_text(self.id), task, "", self.because, "")


async def choose(attempt: Attempt, name: str, conditions: Conditions, inputs: StepInputs) -> Verdict:
    """What becomes of a step whose parents are done.

    Raises:
        TaskRunError: somebody ended what it waits for.
    """
    parts, identity = await known_parts(attempt), attempt.mine(part_identity("decision", name))
    with registering:
        there = found_in(attempt, parts, identity, f"what becomes of step {name}")
        index = attempt.children
        attempt.children += 1 + len(conditions.flat)
    if there is not None and counts(there, attempt.run.trial_start):
        waits = [(n, each) for n, each in enumerate(conditions.flat) if not isinstance(each, ParentCondition)]
        members = [member(attempt, each, identity, n, inputs) for n, each in waits]
        attempt.asks("", *(each.identity for each in members))
        parted = [parts.found.pop(each.identity, None) for each in members]
        losers = [each.id for each in parted if each is not None and not each.state.is_terminal]
        await end(attempt, f"what becomes of {name}", losers)
        return _read(there)
    if inputs.skipped and not inputs.outputs:
        verdict, losers = Verdict(Choice.SKIP, "all its parents were skipped"), list[bytes]()
    else:
        members = [member(attempt, each, identity, n, inputs) for n, each in enumerate(conditions.flat)]
        gathering = _Choosing(conditions, looks_back=any(one.back is not None for one in members))
        await gathered(attempt, parts, members, gathering, index)
        verdict, losers = _verdict(gathering, members, conditions.flat), losers_of(gathering, members)
    verdict.id = attempt.new_id() if there is None else there.id
    record = _record(attempt, name, verdict, identity, index, again=there is not None)
    answer = write(attempt, record, needed=not losers)
    if losers:
        await written(attempt, answer)  # first: what is recorded is what counts
        await end(attempt, f"what becomes of {name}", losers)
    return verdict


def _record(attempt: Attempt, name: str, verdict: Verdict, identity: bytes, index: int, *, again: bool) -> Record:
    told = {"decided": verdict.decided, "because": verdict.because}
    shown = msgspec.json.encode({"step": name, **told}).decode()
    if verdict.decided is Choice.CANCEL:
        state, output, error = RunState.FAILED, None, encode_failure(Failure("cancelled", message=verdict.because))
    else:
        state, output, error = RunState.COMPLETED, msgspec.json.encode(told).decode(), None
    began = attempt.host.engine().store.now()
    kind = kind_of(attempt, RunKind.RECORDED)
    return Record(kind, verdict.id, identity, shown, state, index, name, output, error, began, again=again)


def _read(there: Recorded) -> Verdict:
    if there.output is None:
        return Verdict(Choice.CANCEL, decode_failure(there.error).message, there.id)
    verdict = msgspec.json.decode(there.output, type=Verdict)
    verdict.id = there.id
    return verdict


def _verdict(gathering: _Choosing, members: list[Member], conditions: list[Condition]) -> Verdict:
    choice, lost = gathering.choice, gathering.lost
    if choice is Choice.RUN:
        return Verdict(choice, "what it waits for has come")
    if choice is not None:
        option = "skip_if" if choice is Choice.SKIP else "cancel_if"
        come = [n for group in gathering.groups[choice] for n in group if gathering.has_come(n)]
        return Verdict(choice, f"{option}: {', '.join(_told(conditions[n]) for n in come)}")
    assert lost is not None
    if members[lost].known is not None:
        return Verdict(Choice.SKIP, f"what it waits for can't come: {_told(conditions[lost])}")
    finished = gathering.results[lost]
    assert finished is not None
    raise error_of(finished, members[lost].id, finished.task or "~event")


def _told(condition: Condition) -> str:
    if isinstance(condition, SleepCondition):
        return f"{condition.duration} are over"
    if isinstance(condition, ParentCondition):
        return f"what became of {condition.name}"
    return f"event {condition.event_key}"
