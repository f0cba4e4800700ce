"""How groups are to go, and what came of them, as it is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import msgspec

from fanwood import checks
from fanwood.model.commands import Failure, Finished
from fanwood.model.states import Awaited, RunState
from fanwood.sdk.declaring.options import known_only
from fanwood.store.failures import encode_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fanwood.durations import Duration
    from fanwood.sdk.children.ended import Outcome
    from fanwood.sdk.children.planned import Planned


class GroupKeywords(TypedDict, total=False):
    """The keywords of `Context.group`.

    on_error: "cancel": the first failure cancels the others, and is raised as an exception group. "collect": failures
        are among the outcomes.
    quorum: so many have to complete; then the others are cancelled. 1 is a race.
    until: called with each outcome; when it returns True, the others are cancelled.
    limit: so many are under way at a time.
    deadline: how long all of it may take. What has not ended then has timed out.
    tolerate: so many failures (a share, if it is a float) are none of the group's.
    """

    on_error: Literal["cancel", "collect"]
    quorum: int | None
    until: Callable[[Outcome[Any]], bool] | None
    limit: int | None
    deadline: Duration | None
    tolerate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """How a group is to go; checked."""

    name: str | None = None
    on_error: str = "cancel"
    quorum: int | None = None
    until: Callable[[Any], bool] | None = None
    limit: int | None = None
    deadline: Duration | None = None
    tolerate: float | None = None

    @classmethod
    def of(cls, name: str | None, given: Mapping[str, Any]) -> GroupOptions:
        """What was given.

        Raises:
            UsageError: there is no such option, or it can't be that.
        """
        known_only(given, GroupKeywords.__annotations__, "ctx.group")
        return cls(name=name, **given)

    def __post_init__(self) -> None:
        if self.name is not None:
            checks.key(self.name, "name", "for a group that is told apart by its number")
        if self.on_error not in ("cancel", "collect"):
            raise checks.refused("on_error", 'must be "cancel" or "collect"', self.on_error)
        for name in ("quorum", "limit"):
            if getattr(self, name) is not None:
                checks.whole(getattr(self, name), name, 1)
        if self.until is not None and not callable(self.until):
            raise checks.refused("until", "must be a function of an outcome", self.until)
        if self.deadline is not None:
            checks.seconds(self.deadline, "deadline")
        if isinstance(self.tolerate, float):
            checks.real(self.tolerate, "tolerate", 1.0)
        elif self.tolerate is not None:
            checks.whole(self.tolerate, "tolerate", 0)

    def tolerates(self, failures: int, members: int) -> bool:
        """Whether so many failures among so many members may be."""
        if self.tolerate is None:
            return failures == 0
        return failures <= (self.tolerate * members if isinstance(self.tolerate, float) else self.tolerate)

    def enough(self, living: int, successes: int, failures: int, members: int) -> tuple[Awaited, int]:
        """What the end of a member means to a group that is suspended, and after how many it could be over."""
        if self.until is not None:
            return Awaited.WAKES, 1
        if self.quorum is not None:
            short = self.quorum - successes
            return Awaited.ONE_OF, max(1, min(short, living - short + 1))
        if self.on_error == "collect":
            return Awaited.ONE_OF, living
        if self.tolerate is None:
            return Awaited.ONE_OF_UNLESS_FAILED, living
        more = sum(self.tolerates(failures + n, members) for n in range(1, living + 1))  # failures that may come yet
        return Awaited.ONE_OF, min(living, more + 1)


class Decision(msgspec.Struct):
    """What came of a group, as it is recorded: the numbers of the members that were left out, as ranges from and up to;
    whether that is as their time was over; and why the group failed, if it did."""

    left_out: list[tuple[int, int]] = []
    timed_out: bool = False
    failed: str = ""

    @property
    def because(self) -> str:
        """Why those that were left out are cancelled."""
        return "its group's time was over" if self.timed_out else "its group was decided without it"

    def leaves_out(self, number: int) -> bool:
        """Whether that member was left out."""
        return any(low <= number < high for low, high in self.left_out)


def left_out_of(run: Planned, decision: Decision) -> Finished:
    """How one came out that was left out, whatever its row says."""
    if decision.timed_out:
        failure = Failure("timed_out", message=decision.because, limit="deadline")
        return Finished(RunState.FAILED, None, encode_failure(failure), run.spec.name)
    failure = Failure("cancelled", message=decision.because)
    return Finished(RunState.CANCELLED, None, encode_failure(failure), run.spec.name)


def ranges_of(numbers: list[int]) -> list[tuple[int, int]]:
    """Numbers that rise, as ranges from and up to."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number:
            ranges[-1] = (ranges[-1][0], number + 1)
        else:
            ranges.append((number, number + 1))
    return ranges
