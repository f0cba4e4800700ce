"""What became of a run's earlier attempts, for its own code and for those who look on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanwood import AttemptInfo, Context, EmptyModel, RunNotFoundError, RunState, TaskRunError


def why(attempts: list[AttemptInfo]) -> list[tuple[int, str | None]]:
    return [(attempt.number, attempt.error) for attempt in attempts]


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_task_sees_why_it_failed_before(app: Any, colour: str) -> None:
    seen: list[list[AttemptInfo]] = []

    def fails(input: EmptyModel, ctx: Context) -> str:
        seen.append(ctx.attempts())
        if len(seen) < 3:
            raise ValueError(f"no stock, the {len(seen)}. time")
        return "done"

    async def aio_fails(input: EmptyModel, ctx: Context) -> str:
        return await asyncio.to_thread(fails, input, ctx)

    task = app.task(name="fails", retries=2)(fails if colour == "sync" else aio_fails)
    ref = task.run_no_wait()
    assert ref.result(timeout=60) == "done"
    expected = [(1, "ValueError: no stock, the 1. time"), (2, "ValueError: no stock, the 2. time")]
    assert [why(attempts) for attempts in seen] == [[], expected[:1], expected]
    found = app.runs.attempts(ref.id)
    assert why(found) == [*expected, (3, None)]
    assert [attempt.status for attempt in found] == [RunState.FAILED, RunState.FAILED, RunState.COMPLETED]
    assert all(attempt.worker and attempt.started_at <= attempt.finished_at for attempt in found)
    assert found[0].traceback.startswith("Traceback")
    assert __file__ in found[0].traceback


def test_a_replay_keeps_the_attempts_of_before(app: Any) -> None:
    well = False

    @app.task(retries=1)
    async def fails() -> str:
        if not well:
            raise ValueError("ill")
        return "well"

    ref = fails.run_no_wait()
    with pytest.raises(TaskRunError):
        ref.result(timeout=60)
    well = True
    assert app.runs.replay(ref.id)
    assert ref.result(timeout=60) == "well"
    assert why(app.runs.attempts(ref.id)) == [(1, "ValueError: ill"), (2, "ValueError: ill"), (3, None)]


def test_very_long_errors_are_cut(app: Any) -> None:
    @app.task(retries=1)
    async def fails() -> None:
        raise ValueError("x" * 50_000)

    ref = fails.run_no_wait()
    with pytest.raises(TaskRunError) as raised:
        ref.result(timeout=60)
    first, last = app.runs.attempts(ref.id)
    assert len(first.error) == 4_000 + len("ValueError: ")
    assert len(first.traceback) <= 12_000
    assert len(raised.value.message) == len(last.error) - len("ValueError: ") == 50_000


def test_of_no_run(app: Any) -> None:
    with pytest.raises(RunNotFoundError):
        app.runs.attempts("01890000-0000-7000-8000-000000000000")
