"""When a queued run's patience ends."""

from __future__ import annotations


def expiry(now: int, schedule_timeout: int | None, deadline: int | None) -> int | None:
    """Until when a run may be QUEUED."""
    if schedule_timeout is None:
        return deadline
    return now + schedule_timeout if deadline is None else min(now + schedule_timeout, deadline)
