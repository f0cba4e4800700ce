"""Waits that code has given up: by `asyncio.timeout`, in a race that another one won. What is waited for may come all
the same, so who asks for it again, in the same attempt, has that wait and no other one: else a message would be
received by nobody, and a loop that waits with a time-out would leave a wait behind with each round."""

from __future__ import annotations

import bisect
import contextlib
from typing import TYPE_CHECKING

from fanwood.errors import TooManyWaitingThreadsError
from fanwood.model.records import Recorded
from fanwood.model.states import RunState
from fanwood.sdk.running.attempt import registering

if TYPE_CHECKING:
    from collections.abc import Generator

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.parts import GivenUp, Parts


def take_up(parts: Parts, content: bytes) -> GivenUp | None:
    """The first of those that wait for the same. Under `registering`."""
    waits = parts.given_up.get(content) if parts.given_up is not None else None
    return waits.pop(0) if waits else None


def as_found(wait: GivenUp, attempt: Attempt) -> Recorded:
    """As it is recorded: nobody was told that it has ended."""
    return Recorded(wait.identity, wait.id, RunState.WAITING, None, None, attempt.run.attempt)


@contextlib.contextmanager
def kept(attempt: Attempt, parts: Parts, content: bytes, wait: GivenUp) -> Generator[None]:
    """While inside, somebody waits for it. If he gives up, it is kept for who asks for the same; not if it was
    refused."""
    try:
        yield
    except BaseException as error:
        refused = isinstance(error, Exception) and not isinstance(error, TooManyWaitingThreadsError)
        if attempt.interruption is None and not refused:
            with registering:
                if parts.given_up is None:
                    parts.given_up = {}
                bisect.insort(parts.given_up.setdefault(content, []), wait)
        raise
