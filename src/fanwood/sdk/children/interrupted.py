"""What is said when what starts runs is interrupted by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.sdk.running.interrupting import by_hand, tell_going_on, tell_nothing_started

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fanwood.sdk.children.planned import Planned
    from fanwood.sdk.children.spawning import Spawner

logger = logs.logger("fanwood")


def tell_interrupted(error: BaseException, task: str, spawner: Spawner | None) -> None:
    """`spawner`: by which it started them; None: it had not come so far (a server did not answer yet, say)."""
    if not by_hand(error):
        return
    planned = spawner.planned if spawner is not None else None
    if planned:
        tell_going_on(planned.id(0), planned.first_task, len(planned), waited=False)
    else:
        tell_nothing_started(task)


def tell_loop_interrupted(error: BaseException, under_way: Mapping[int, Planned]) -> None:
    """A stream was, which leaves nothing behind: what is under way is cancelled."""
    if by_hand(error) and under_way:
        task = next(iter(under_way.values())).spec.name
        logger.warning(
            "The loop was interrupted. What was under way is cancelled: %d run(s) of %s.", len(under_way), task
        )
