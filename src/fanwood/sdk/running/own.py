"""What is told apart by its order alone: only where that is the same in each attempt."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from fanwood.engine.signals import running_loop
from fanwood.errors import UsageError

if TYPE_CHECKING:
    from fanwood.sdk.running.attempt import Attempt


def ordered(attempt: Attempt, what: str, *, in_a_step: bool) -> None:
    """`what` has no name, so it is called in the run's own asyncio task, or thread, and not within a recorded step.

    Raises:
        UsageError: it is not. Which of two branches comes first is another in each attempt, and code of a step is not
            executed again: they would be given each other's.
    """
    if attempt.is_mocked or (_is_own(attempt) and not in_a_step):
        return
    where = "within a recorded step" if in_a_step else "outside the run's own asyncio task or thread"
    raise UsageError(
        f"{what} needs a name here: it is called {where}, where the order of such calls, by which those without a name "
        f"are told apart, is another in each attempt"
    )


def _is_own(attempt: Attempt) -> bool:
    if attempt.spec.is_async:
        return running_loop() is not None and asyncio.current_task() is attempt.coroutine_task
    return threading.get_ident() == attempt.thread
