"""How runs fail without their task's doing: the records that the store itself writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.ids import id_text
from fanwood.model.commands import Failure
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from fanwood.model.records import AttemptRecord

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Failure)


MAX_ATTEMPTS = 2**31 - 2
"""What counts attempts holds no more in every database."""
UNSERVED = "unserved"
"""The kind of what stands in the row of a run that waits for a worker with the version of its code that began it."""
UNREADABLE = Failure(
    "failed",
    type="StoreError",
    message="its row in the database could not be read: a column holds something that it should not",
)
"""A run that was written by something else than Fanwood, or is damaged."""


def encode_failure(failure: Failure) -> str:
    """A failure as it is stored."""
    return _encoder.encode(failure).decode()


def decode_failure(text: str | None) -> Failure:
    """A failure as it was stored; an empty one if there is none, or it can't be read."""
    if not text:
        return Failure("failed")
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        return Failure("failed", message=text)


def summary(failure: Failure) -> str:
    """Why, in few words."""
    return ": ".join(part for part in (failure.type, failure.message) if part) or failure.kind


def attempt_error(attempt: AttemptRecord) -> Failure | None:
    """Why an attempt failed; None if it didn't, or hasn't ended."""
    if attempt.state is RunState.FAILED and attempt.error is None:
        return Failure("lost", message="its worker was lost")
    return None if attempt.error is None else decode_failure(attempt.error)


def poisoned(task: str, deaths: int) -> Failure:
    """A run that was executing on too many workers that died."""
    return Failure(
        "poisoned",
        type="Poisoned",
        message=f"poison: {deaths} workers in a row died while executing {task}; it is not tried again. "
        f"Look for what kills the process (memory, a native crash); `fanwood runs retry` runs it once more.",
    )


def expired(task: str, run_id: bytes, deadline_by: bytes | None, schedule_timeout: int | None) -> Failure:
    """A run that was queued for too long: past its own schedule timeout, or an ancestor's deadline."""
    if deadline_by is not None:
        return deadline_passed(task, deadline_by)
    seconds = (schedule_timeout or 0) / 1e6
    if task.startswith("~"):  # it has no code, and waited for something
        return Failure(
            "timed_out",
            type="TimeoutError",
            message=f"its timeout of {round(seconds, 5):g} s ran out, and nothing had come",
            limit="timeout",
            owner=id_text(run_id),
        )
    return Failure(
        "timed_out",
        type="TimeoutError",
        message=f"schedule_timeout of {seconds:g} s of {task} ran out before a worker took it",
        limit="schedule_timeout",
        owner=id_text(run_id),
    )


def deadline_passed(task: str, owner: bytes) -> Failure:
    """A run whose ancestor's deadline came."""
    return Failure(
        "timed_out",
        type="TimeoutError",
        message=f"the deadline that {task} inherited from its ancestor {id_text(owner)} passed",
        limit="deadline",
        owner=id_text(owner),
    )


def ancestor_ended(run_id: bytes, how: str) -> str:
    """What is said, as it is stored, of runs that end because something above them did."""
    return encode_failure(Failure("cancelled", message=f"its ancestor {id_text(run_id)} {how}"))


def life_said(number: int) -> str:
    """The line in the log of a run that starts over, for the so-manieth time."""
    return f"it starts over ({number})"


def is_by_ancestor(error: str | None) -> bool:
    """Whether that is what a run ended with."""
    return error is not None and '"its ancestor ' in error[:80]
