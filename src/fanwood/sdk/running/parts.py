"""What an attempt knows of that which its run has recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fanwood.model.states import RunState

if TYPE_CHECKING:
    from fanwood.engine.inbox import Joint
    from fanwood.model.commands import SpawnKind
    from fanwood.model.records import Recorded
    from fanwood.sdk.running.reading import Reading


class GivenUp(NamedTuple):
    """A wait of this attempt that nobody waits for any more: who it is, and its time-out, in microseconds."""

    number: int
    identity: bytes
    id: bytes
    limit: int | None


class Parts:
    """Of one attempt."""

    __slots__ = (
        "draws", "found", "given_up", "is_timed", "joint", "kind", "reading", "times", "under_way",
        "version",
    )  # fmt: skip

    def __init__(self, reading: Reading) -> None:
        self.reading = reading  # until it is over, `found` is not whole
        self.found: dict[bytes, Recorded] = {}  # by identity: of earlier attempts, and of this one what has a key
        self.under_way: set[bytes] = set()
        self.draws: dict[bytes, int] = {}
        self.kind: SpawnKind | None = None  # what steps have in common
        self.joint: Joint | None = None  # steps that were handed in last: others may still join them
        self.given_up: dict[bytes, list[GivenUp]] | None = None  # waits of this attempt, by content
        self.times: dict[bytes, int] = {}  # how often this attempt has given up what it waited for, by identity
        self.is_timed: bool | None = None  # its code has set timers, as was seen in this turn of its loop
        self.version: str | None = None  # of the code that began the run


def counts(found: Recorded, trial_start: int) -> bool:
    """Whether it is as it stands; else it is done again, in place."""
    return found.state not in (RunState.FAILED, RunState.CANCELLED) or found.asked >= trial_start
