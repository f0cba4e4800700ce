"""What is a little wrong on a server: how late it is there, as a process believes."""

from __future__ import annotations

import pytest

from fanwood import BulkResult, Fanwood, RunState
from fanwood.store.postgres.store import PostgresStore


def test_what_was_just_begun_is_meant_by_who_believes_that_it_is_earlier(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process knows of the server's time is as good as its last question was quick."""
    now = PostgresStore.now
    monkeypatch.setattr(PostgresStore, "now", lambda store: now(store) - 5_000_000)
    with Fanwood(postgres_url, shared=False, local_worker=False) as app:

        @app.task
        def task() -> None: ...

        refs = [task.run_no_wait() for _ in range(2)]
        assert app.runs.bulk_preview("cancel", ids=[refs[0].id]).count == 1
        assert app.runs.bulk("cancel", ids=[refs[0].id]).result() == BulkResult(1, 0)
        assert app.runs.bulk("cancel", task_name="task").result() == BulkResult(1, 0)
        assert {ref.status() for ref in refs} == {RunState.CANCELLED}
