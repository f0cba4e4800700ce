"""What the engine knows of those who execute: how much they can take, and how to hand it to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.commands import ClaimedRun, Failure, Notice, Outcome, TaskInfo


class Dispatcher(Protocol):
    """The executing half of a worker. Every method may be called from the engine's thread and must not block."""

    slots: int
    programs: Sequence[int]
    """Those below whose roots alone it executes runs; none: below all."""

    def tasks(self) -> list[TaskInfo]:
        """The tasks that it serves."""
        ...

    def serves(self, task: str) -> bool:
        """Whether it serves `task`."""
        ...

    def demand(self) -> int:
        """How many more runs it could take now. Without a lease none: nothing begins, and what goes back for that would
        be claimed again at once, as often as there can be commits."""
        ...

    def idle(self) -> bool:
        """Whether it executes nothing, and nothing waits to begin or to go on."""
        ...

    def streams(self) -> bool:
        """Whether runs come and end at such a pace that they are claimed ahead of the slots."""
        ...

    def beside(self) -> bool:
        """Whether a small tree is executed beside a large one, of which more is queued."""
        ...

    def turn(self, tree: str, priority: int) -> int:
        """How many runs of this tree (a root; or a task, whose roots they are) it would begin before others that are
        queued, as they have had their turn."""
        ...

    def offer(self, runs: list[ClaimedRun]) -> None:
        """Execute these, which are claimed for it."""
        ...

    def notice(self, notice: Notice) -> None:
        """A run that it executes was changed from outside: ended, or its deadline moved."""
        ...

    def limits_reached(self, attempts: list[tuple[str, int]]) -> None:
        """The limits of these runs have come, as far as is known here."""
        ...

    def place(self, outcomes: list[Outcome]) -> None:
        """Say which of these need no mail (`Outcome.local`): their parents' present attempts execute here."""
        ...

    def hand_back(self, root: str | None = None) -> list[Outcome]:
        """Give back what has not begun: the runs of one tree (its root's id), or all. What is to be reported of it."""
        ...

    def look_after(self, contended: frozenset[str]) -> list[Outcome]:
        """Now and then: see to code that should have stopped, and give back what can't begin soon and others, who serve
        the tasks `contended`, could. What is to be reported of it."""
        ...

    def go_on(self) -> None:
        """There is a lease again: what waits may begin."""
        ...

    def abandon(self, failure: Failure) -> None:
        """The lease is lost: stop everything, and report nothing."""
        ...


class NoDispatcher:
    """A client's: serves nothing, takes nothing."""

    slots = 0
    programs: Sequence[int] = ()

    def tasks(self) -> list[TaskInfo]:
        return []

    def serves(self, task: str) -> bool:  # noqa: ARG002
        return False

    def demand(self) -> int:
        return 0

    def idle(self) -> bool:
        return False

    def streams(self) -> bool:
        return False

    def beside(self) -> bool:
        return False

    def turn(self, tree: str, priority: int) -> int:  # noqa: ARG002
        return 0

    def offer(self, runs: list[ClaimedRun]) -> None:  # noqa: ARG002
        raise AssertionError("a client claims nothing")

    def notice(self, notice: Notice) -> None:
        pass

    def limits_reached(self, attempts: list[tuple[str, int]]) -> None:
        pass

    def place(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            outcome.local = not outcome.parent

    def hand_back(self, root: str | None = None) -> list[Outcome]:  # noqa: ARG002
        return []

    def look_after(self, contended: frozenset[str]) -> list[Outcome]:  # noqa: ARG002
        return []

    def go_on(self) -> None:
        pass

    def abandon(self, failure: Failure) -> None:
        pass
