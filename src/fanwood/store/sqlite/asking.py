"""Roots with a key, and children that are asked for again, as rows of their statements (spawning.sql)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.model.states import Cause
from fanwood.store.sqlite.leaving import Queueing

if TYPE_CHECKING:
    from fanwood.model.commands import Attach, Spawn


def key_row(spawn: Spawn) -> tuple[str, str, str | None, str, str]:
    """A row of `take_keys`."""
    return (
        spawn.id.hex(),
        spawn.kind.namespace,
        spawn.child_key,
        (spawn.input_digest or b"").hex().upper(),
        spawn.kind.task,
    )


def attach_row(attach: Attach) -> tuple[Any, ...]:
    """A row of `attach_children`."""
    kind = attach.kind
    return (
        attach.id.hex(),
        kind.parent_attempt,
        kind.deadline,
        (kind.deadline_by or b"").hex(),
        kind.task,
        (attach.input_digest or b"").hex().upper(),
        int(kind.on_parent_end),
    )


def revival(attach: Attach, id_: str, attempt: int, state: int) -> Queueing:
    """What is asked for again, and is run again."""
    kind = attach.kind
    return Queueing(
        id_, attempt, state, Cause.REPLAY, deadline=kind.deadline, deadline_by=(kind.deadline_by or b"").hex()
    )
