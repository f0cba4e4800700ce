"""Workers delete trees that ended long ago, if they are told to."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fanwood import Fanwood, RunNotFoundError, SettingsError
from tests.conftest import MakeApp
from tests.faults.processes import until

A_MOMENT = 0.2 / 86_400  # days
PATIENCE = 60.0


def until_gone(app: Fanwood, run_id: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            app.runs.get(run_id)
        except RunNotFoundError:
            return
        time.sleep(0.01)
    pytest.fail("it is still there")


def test_that_old_trees_go_and_the_worker_works_on(make_app: MakeApp) -> None:
    done: list[int] = []

    def declared(app: Fanwood) -> Any:
        @app.task
        async def leaf(input: int) -> int:
            return input

        @app.task
        async def tree(input: int) -> int:
            done.append(sum(await leaf.aio_run_many(leaf.create_bulk_run_item(n) for n in range(input))))
            return done[-1]

        return tree

    before, app = make_app(), make_app(retention_days=A_MOMENT)
    refs = [declared(before).run_no_wait(20)]
    refs += [before.find("tree").run_no_wait(20) for _ in range(2)]
    assert [ref.result() for ref in refs] == [190] * 3
    before.close()
    done.clear()
    tree = declared(app)
    first = tree.run_no_wait(10)
    for ref in [*refs, first]:
        until_gone(app, ref.id)
    tree.run_no_wait(20)
    until(lambda: done == [45, 190], "it works on")  # (what it returned may be gone before anybody has asked for it)


def test_that_clients_delete_nothing_and_that_keeping_for_ever_is_the_default(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, client = make_app(), make_app(local_worker=False, retention_days=A_MOMENT)
    asked: list[Fanwood] = []
    for app in (worker, client):
        _note_pruning(app, asked, monkeypatch)

    @worker.task
    async def leaf(input: int) -> int:
        return input

    ref = leaf.run_no_wait(1)
    assert ref.result() == 1
    other = make_app(retention_days=A_MOMENT)

    @other.task
    async def another(input: int) -> int:
        return input

    another.run_no_wait(1)  # so that there is a worker that does delete
    until_gone(worker, ref.id)
    assert asked == []


def _note_pruning(app: Fanwood, asked: list[Fanwood], monkeypatch: pytest.MonkeyPatch) -> None:
    store = app.engine().store
    prune = store.prune

    async def noted(*args: Any) -> Any:
        asked.append(app)
        return await prune(*args)

    monkeypatch.setattr(store, "prune", noted)


@pytest.mark.parametrize("days", [-1, float("inf"), float("nan")])
def test_impossible_times(days: float) -> None:
    with pytest.raises(SettingsError, match="retention_days"):
        Fanwood("sqlite:///nowhere.db", retention_days=days)
