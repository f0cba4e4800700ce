"""What another program, or an earlier version of this one, has left in the queue: it is said who goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.sdk.origins import BITS
from fanwood.sdk.waiting import called

if TYPE_CHECKING:
    from fanwood.engine.engine import Engine
    from fanwood.sdk.spec import TaskSpec

logger = logs.logger("fanwood.worker")


def programs_of(specs: dict[str, TaskSpec]) -> list[int]:
    """Those that these tasks are written in."""
    return sorted({spec.origin >> BITS for spec in specs.values()})


async def tell_of_others(engine: Engine, specs: dict[str, TaskSpec], *, own: bool) -> None:
    """When somebody begins to execute runs of these tasks; `own`: below his own roots only."""
    origins = sorted({spec.origin for spec in specs.values()} - {0})
    programs = programs_of(specs)
    for task, origin, count in await called(engine.call(lambda store: store.left_over(list(specs), origins))):
        runs = f"{count} queued run{'s' if count != 1 else ''} of {task}"
        if origin >> BITS in programs:
            logger.warning("%s: started by an earlier version of this program, which goes on with them now", runs)
        elif own:
            logger.warning(
                "%s: started by another program than this, and not executed here. Run that again, or end them: "
                "`fanwood runs cancel --task %s`", runs, task,
            )  # fmt: skip
        else:
            logger.warning("%s: started by another program than this, which executes them all the same", runs)
