"""What another program, or other code of a task, has left in the queue: it is said who goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.errors import EngineClosedError
from fanwood.sdk.running.waiting import called

if TYPE_CHECKING:
    from fanwood.engine.engine import Engine
    from fanwood.model.records import LeftOver
    from fanwood.sdk.declaring.spec import TaskSpec

logger = logs.logger("fanwood.worker")


LOOKED_AT = 1000
"""Queued runs of a task that are looked at, at most."""


def programs_of(specs: dict[str, TaskSpec]) -> list[int]:
    """Those that these tasks are written in."""
    return sorted({spec.origin.program for spec in specs.values()})


async def tell_of_others(engine: Engine, specs: dict[str, TaskSpec], *, own: bool, script: bool) -> None:
    """When somebody begins to execute runs of these tasks; `own`: below his own roots only. A server's workers
    that are no scripts say nothing of programs: theirs lie elsewhere on each machine. (Who begins is kept from it by
    nothing that goes wrong here.)"""
    try:
        await _tell_of_others(engine, specs, own=own, script=script)
    except EngineClosedError:
        raise
    except Exception as error:  # noqa: BLE001
        logger.warning("what others have left in the queue could not be looked at: %r", error)


async def _tell_of_others(engine: Engine, specs: dict[str, TaskSpec], *, own: bool, script: bool) -> None:
    await called(engine.look_around())  # what the dead have left is in the queue then
    programs = programs_of(specs) if script or engine.store.embedded else []
    for left in await called(engine.call(lambda store: store.left_over(list(specs), programs, LOOKED_AT))):
        foreign = left.foreign if programs else 0
        if foreign and own:
            logger.warning(
                "%s: started by another program than this, and not executed here. Run that again, or end them: "
                "`fanwood runs cancel --task %s`", _runs(foreign, left), left.task,
            )  # fmt: skip
        elif foreign:
            logger.warning(
                "%s: started by another program than this, which executes them all the same", _runs(foreign, left)
            )
        count = left.count - foreign if own else left.count
        if count and left.version not in (0, specs[left.task].origin.version):
            logger.warning(
                "%s: other code than this (an earlier version of it, say) has served that task so far; this goes on "
                "with them", _runs(count, left),
            )  # fmt: skip


def _runs(count: int, left: LeftOver) -> str:
    more = " or more" if left.more else ""
    return f"{count}{more} queued run{'s' if count != 1 or more else ''} of {left.task}"
