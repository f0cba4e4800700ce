"""A server that has forgotten commits: an earlier state was restored, or a standby that lagged was promoted."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import asyncpg
import pytest

from fanwood import Fanwood, RunState


async def _rewind(url: str, run: str) -> None:
    """What a lagging standby would have: the run's end, and the commit that wrote it, never happened."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "update fanwood.run set state = 1, output = null, finished_at = null where id = decode($1, 'hex')",
            run.replace("-", ""),
        )
        await connection.execute("update fanwood.worker set seq = seq - 1")
    finally:
        await connection.close()


def test_a_run_that_was_ended_by_a_forgotten_commit_is_executed_again(
    make_app: Any, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app: Fanwood = make_app(url=postgres_url, lease=2.0, heartbeat=0.1)
    attempts: list[int] = []

    @app.task
    async def once(n: int) -> int:
        attempts.append(n)
        return n

    ref = once.run_no_wait(7)
    assert ref.result(timeout=60) == 7
    with caplog.at_level(logging.WARNING, logger="fanwood"):
        asyncio.run(_rewind(postgres_url, ref.id))
        other: Fanwood = make_app(url=postgres_url, local_worker=False)
        assert other.runs.get_run_ref(ref.id).result(timeout=60) == 7
    assert other.runs.get_status(ref.id) is RunState.COMPLETED
    assert attempts == [7, 7]
    assert "starts anew" in caplog.text
