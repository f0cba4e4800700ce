"""What goes wrong once, inside of a block."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fanwood import Context, RunState, UsageError
from fanwood.testing import TestApp, drain, effects, faults, tree
from tests.testing import shop


@pytest.mark.parametrize("commit", [1, 2, 3])
@pytest.mark.parametrize("before", [False, True])
def test_that_a_worker_s_loss_is_survived(fanwood_app: TestApp, commit: int, before: bool):
    with faults.lose_worker(commit=commit, before=before) as fault:
        assert shop.total.run(3) == 6
    assert fault.happened == 1


async def test_the_same_in_an_async_test_several_times(fanwood_app: TestApp):
    with faults.lose_worker(times=2) as fault:
        assert await shop.ship.aio_run(3) == "box 3, sent"
    assert fault.happened == 2
    assert len(effects.recorded("packed")) >= 1


@pytest.mark.parametrize("commit", [1, 2, 3])
@pytest.mark.parametrize("before", [False, True])
def test_that_a_lost_answer_is_survived(fanwood_app: TestApp, commit: int, before: bool):
    with faults.lose_answer(commit=commit, before=before) as fault:
        assert shop.total.run(3) == 6
    assert fault.happened == 1
    assert effects.recorded("doubled") == [(0,), (1,), (2,)]


def test_that_time_goes_on_while_the_clock_jumps(fanwood_app: TestApp):
    begin = fanwood_app.now()
    ref = shop.double.run_no_wait(1)
    drain()
    with faults.jump_clock(timedelta(days=-3)):
        assert fanwood_app.now() == begin - timedelta(days=3)
        assert ref.result() == 2
    with faults.jump_clock(86_400):
        assert fanwood_app.now() - begin == timedelta(days=1, seconds=1)
        assert shop.double.run(2) == 4
    with faults.jump_clock(hours=-1, minutes=-30):
        assert fanwood_app.now() - begin == timedelta(seconds=2, hours=-1, minutes=-30)
    assert fanwood_app.now() - begin == timedelta(seconds=2)


@pytest.mark.parametrize(
    ("by", "units"), [((), {}), ((1,), {"hours": 1}), (("1h",), {}), ((float("nan"),), {}), ((), {"fortnights": 1})]
)
def test_that_a_clock_is_set_by_a_time(by: Any, units: Any, fanwood_app: TestApp):
    with pytest.raises(UsageError, match="jump_clock"), faults.jump_clock(*by, **units):
        pass


def test_that_without_a_worker_nothing_begins(fanwood_app: TestApp):
    with faults.no_worker():
        ref = shop.double.run_no_wait(1)
        drain()
        assert ref.status() is RunState.QUEUED
    assert ref.result() == 2
    running = shop.double.run_no_wait(2)
    drain()
    with faults.no_worker():
        drain()
    assert running.result() == 4
    assert tree(running) == "double(2) COMPLETED -> 4"


def test_that_a_fault_that_never_came_fails(fanwood_app: TestApp):
    with (
        pytest.raises(AssertionError, match=r"the fault \(lose the worker\) never came to pass"),
        faults.lose_worker(commit=50),
    ):
        assert shop.double.run(1) == 2
    with pytest.raises(ZeroDivisionError), faults.lose_answer():
        raise ZeroDivisionError


def test_that_an_attempt_whose_worker_is_lost_is_not_timed_out(fanwood_app: TestApp):
    """Its limit went with it: the next one has all of the time again, and no retry is used up."""
    begun: list[tuple[float, int, int]] = []

    @fanwood_app.task(execution_timeout=60)
    async def slow(_n: int, ctx: Context) -> str:
        assert ctx.deadline is not None
        begun.append(((ctx.deadline - fanwood_app.now()).total_seconds(), ctx.attempt_number, ctx.retry_count))
        await asyncio.sleep(40)
        return "done"

    begin = fanwood_app.now()
    with faults.lose_worker(before=True):  # with what came of it
        assert slow.run(1) == "done"
    assert fanwood_app.now() - begin >= timedelta(seconds=80)
    assert [(pytest.approx(60, abs=1), attempt, retries) for _, attempt, retries in begun] == begun
    assert [attempt for _, attempt, _ in begun] == [1, 2]
    assert {retries for _, _, retries in begun} == {0}
