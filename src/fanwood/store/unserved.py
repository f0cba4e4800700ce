"""Runs that wait for a worker with the version of their code that began them, as `Store.report` tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.store.failures import decode_failure
from fanwood.store.words import lasting, many

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

FAR = 10_000
"""So many of what is due next are looked at."""
LONG = 5_000_000
"""Microseconds: who is put off for longer was with several workers that lack his code."""


def said(rows: Iterable[Sequence[Any]], now: int) -> list[str]:
    """Rows: task, error, how many, when the oldest was created."""
    return [
        f"{many(count, 'run')} of {task}, the oldest created {lasting(now - oldest)} ago, "
        f"{'waits' if count == 1 else 'wait'} for a worker with other code. Of each: {decode_failure(error).message}"
        for task, error, count, oldest in rows
    ]
