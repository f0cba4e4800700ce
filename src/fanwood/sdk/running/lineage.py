"""What a run is in a fork, and what it has to do with others of its tree, for callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fanwood.clock import moment
from fanwood.ids import id_text
from fanwood.model.forks import fork_of
from fanwood.model.looks import Bond

if TYPE_CHECKING:
    from datetime import datetime

    from fanwood.model.forks import Lineage
    from fanwood.model.looks import Kin
    from fanwood.model.states import RunState


@dataclass(frozen=True, slots=True)
class ForkInfo:
    """What the run `id` is in a fork.

    how: "fork": its code is executed, and takes what `of` had finished; "copy": it has completed, as `of` had, and
        nothing was executed; "again": it is in the place of `of`, and takes nothing of it.
    of: the run that it is made from.
    at: of the root of a fork: the run from which on nothing is taken, if it was forked at one.
    changed: whether an input was changed: that of `at`, or else its own.
    by: of the root of a fork: who wanted it.
    made_at: of the root of a fork: when.
    """

    id: str
    how: Literal["fork", "copy", "again"]
    of: str
    at: str | None = None
    changed: bool = False
    by: str | None = None
    made_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KinInfo:
    """What a run has to do with another one of its tree, that is neither above nor below it.

    how: "shares": it is a call's link to the run `id`, which calls share; "shared": it is itself what they share, and
        `id` its own; "helps": it is a hedge of that one; "helped": that one is its hedge, and lives.
    """

    how: Literal["shares", "shared", "helps", "helped"]
    id: str
    task_name: str
    status: RunState


def kin_info(kin: Kin) -> KinInfo:
    """For callers."""
    other = kin.run_id if kin.bond is Bond.SHARED else kin.other
    return KinInfo(_HOW[kin.bond], id_text(other), kin.task, kin.state)


_HOW: dict[Bond, Literal["shares", "shared", "helps", "helped"]] = {
    Bond.SHARES: "shares", Bond.SHARED: "shared", Bond.HELPS: "helps", Bond.HELPED: "helped",
}  # fmt: skip


def fork_info(run_id: bytes, life: str | None) -> ForkInfo | None:
    """From a run's row; None: it is in no fork."""
    fork = fork_of(life)
    if fork is None:
        return None
    at = id_text(bytes.fromhex(fork.way[-1])) if fork.way else None
    changed = fork.changed or fork.input is not None
    return ForkInfo(id_text(run_id), fork.how, id_text(fork.key), at, changed, fork.by or None)


def lineage_info(lineage: Lineage) -> ForkInfo:
    """Of the root of a fork."""
    at = None if lineage.at is None else id_text(lineage.at)
    of, made = id_text(lineage.origin_id), moment(lineage.made_at)
    return ForkInfo(id_text(lineage.root_id), "fork", of, at, bool(lineage.changed), lineage.by, made)
