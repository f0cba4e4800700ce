"""What has no code of its own (steps, sleeps) is a part of its parent: what can't be done to it by itself, in words."""

from __future__ import annotations

from fanwood.errors import RunEndedError, UsageError
from fanwood.ids import id_text
from fanwood.model.states import FIRST_WAIT, RunKind


def refuse_part(run_id: bytes, kind: int, parent_id: bytes | None) -> None:
    """Refuse to run it again.

    Raises:
        UsageError: it is such a part.
    """
    if kind >= FIRST_WAIT:
        raise UsageError(
            f"Run {id_text(run_id)} can't be run again by itself: it is a part of run {id_text(parent_id or b'')}, "
            f"whose code asked for it. Retry or replay that one"
        )


def must_receive(run_id: bytes, kind: int, *, over: bool) -> None:
    """Only a run that has not ended receives messages.

    Raises:
        RunEndedError: it has.
        UsageError: it is a part of one.
    """
    if kind >= FIRST_WAIT:
        raise UsageError(f"Run {id_text(run_id)} is a part of a run, and receives no messages")
    if over:
        raise RunEndedError(
            f"Run {id_text(run_id)} has ended, or ends with something above it: it receives no messages"
        )


def must_promise(run_id: bytes, kind: int) -> None:
    """Only a promise can be settled.

    Raises:
        UsageError: it is none.
    """
    if kind != RunKind.PROMISE:
        raise UsageError(f"Run {id_text(run_id)} is no promise, and can't be settled")


def must_sleep(run_id: bytes, kind: int) -> None:
    """Only a sleep can be woken.

    Raises:
        UsageError: it is none.
    """
    if kind != RunKind.SLEEP:
        raise UsageError(
            f"Run {id_text(run_id)} is no sleep, and can't be woken. The sleeps of a run are among its children"
        )
