"""A run that starts over: its code says with what, and comes to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from fanwood.errors import PayloadTooLargeError, RunStartsOver, UsageError
from fanwood.sdk.declaring.options import NOT_GIVEN

if TYPE_CHECKING:
    from fanwood.sdk.running.attempt import Attempt


def start_over(attempt: Attempt, input_: Any) -> NoReturn:
    """See `Context.start_over`."""
    attempt.check()
    spec, limit = attempt.spec, attempt.host.settings.max_payload_bytes
    if spec.kind == "step":
        raise UsageError(f"{spec.name} is a step of a workflow, and its input is made by that: it can't start over")
    given = spec.nothing() if input_ is NOT_GIVEN else input_
    data = spec.input.encode(given, f"the input of {spec.name}")
    if len(data) > limit:
        raise PayloadTooLargeError(f"the input of {spec.name}", len(data), limit)
    attempt.renewal = data.decode()
    raise RunStartsOver(f"{spec.name} starts over; this is no failure, and is to be let pass")
