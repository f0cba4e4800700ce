"""A task that takes too long, and one that asks for more time."""

import time
from datetime import timedelta

from fanwood.hatchet import Context, EmptyModel, Hatchet, TaskDefaults

hatchet = Hatchet()
flow = hatchet.workflow(name="Timeout", task_defaults=TaskDefaults(execution_timeout=timedelta(minutes=2)))


@flow.task(execution_timeout=timedelta(seconds=0.05), schedule_timeout=timedelta(minutes=10))
def too_long(input: EmptyModel, ctx: Context) -> dict[str, str]:
    while not ctx.is_cancelled:
        time.sleep(0.005)
    return {"status": "success"}


refreshing = hatchet.workflow(name="RefreshTimeout")


@refreshing.task(execution_timeout=timedelta(seconds=60))
def refresh(input: EmptyModel, ctx: Context) -> dict[str, float]:
    assert ctx.deadline is not None
    before = ctx.deadline
    ctx.refresh_timeout(timedelta(seconds=10))
    ctx.refresh_timeout(increment_by="5s")
    return {"more": round((ctx.deadline - before).total_seconds(), 0)}  # what goes by meanwhile is added


def main() -> object:
    try:
        flow.run()
    except Exception as error:
        assert "execution_timeout" in str(error), error
    return refreshing.run()
