"""Progress from Python: counts, watching, trees, logs, and what a run says of itself."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import Any

import pytest

from fanwood import BlockingCallError, Context, EmptyModel, Progress, RunNotFoundError, RunState, RunTree, UsageError
from fanwood.engine.ticks import PROGRESS_SECONDS

NOBODY = "01890000-0000-7000-8000-000000000000"


class Work:
    """A parent of ten leaves, one of which fails; the last one waits until it may go on."""

    def __init__(self, app: Any) -> None:
        self.go_on = threading.Event()

        @app.task
        def leaf(input: int, ctx: Context) -> int:
            ctx.log(f"leaf {input}")
            if input == 9:
                self.go_on.wait(60)
            if input == 3:
                raise ValueError("no stock")
            return input

        @app.task
        async def parent() -> int:
            items = [leaf.create_bulk_run_item(n) for n in range(10)]
            return len(await leaf.aio_run_many(items, return_exceptions=True))

        self.leaf, self.parent = leaf, parent


def test_counts_are_those_of_what_is_below(app: Any) -> None:
    work = Work(app)
    ref = work.parent.run_no_wait()
    seen = []
    for counts in app.runs.watch(ref.id, interval=0.01):
        seen.append(counts)
        if counts.ended == 9:
            work.go_on.set()
    assert all(one != other for one, other in itertools.pairwise(seen))
    last = seen[-1]
    assert (last.run_id, last.status, last.progress) == (ref.id, RunState.COMPLETED, None)
    assert (last.total, last.ended, last.completed, last.failed) == (10, 10, 9, 1)
    assert (last.queued, last.running, last.waiting, last.cancelled) == (0, 0, 0, 0)
    assert last.by_task == {"leaf": {RunState.COMPLETED: 9, RunState.FAILED: 1}}
    assert app.runs.counts(ref.id) == last
    leaf = app.runs.children(ref.id)[0]
    assert (app.runs.counts(leaf.id).total, app.runs.counts(leaf.id).by_task) == (0, {})


async def test_watching_on_a_loop(app: Any) -> None:
    work = Work(app)
    work.go_on.set()
    ref = await work.parent.aio_run_no_wait()
    seen = [counts async for counts in app.runs.watch(ref.id, interval="10ms")]
    assert seen[-1].status is RunState.COMPLETED
    assert [counts async for counts in app.runs.watch(ref.id)] == [seen[-1]]  # of what has ended: once
    with pytest.raises(BlockingCallError, match="use `async for`"):
        next(iter(app.runs.watch(ref.id)))


def test_failed_children_and_pages(app: Any) -> None:
    work = Work(app)
    work.go_on.set()
    ref = work.parent.run_no_wait()
    assert ref.result(timeout=60) == 10
    (failed,) = app.runs.children(ref.id, status="failed")
    assert "no stock" in failed.error
    everyone = app.runs.children(ref.id)
    assert [*app.runs.children(ref.id, limit=4), *app.runs.children(ref.id, after=everyone[3].id)] == everyone
    assert len(app.runs.children(ref.id, status=RunState.COMPLETED, limit=100)) == 9
    assert app.runs.children(ref.id, status="failed", after=failed.id) == []
    for wrong in ({"status": "broken"}, {"after": NOBODY}, {"limit": -1}):
        with pytest.raises(UsageError):
            app.runs.children(ref.id, **wrong)
    (line,) = app.runs.logs(failed.id)
    assert (line.seq, line.attempt, line.level, line.message) == (0, 1, "info", "leaf 3")
    assert app.runs.logs(failed.id, after=0) == []


def names(tree: RunTree) -> Any:
    return [tree.run.task_name, *(names(child) for child in tree.children)] if tree.children else tree.run.task_name


def test_trees(app: Any) -> None:
    @app.task
    async def node(input: int) -> int:
        return sum([await node.aio_run(n) for n in range(input)]) + 1

    ref = node.run_no_wait(3)
    assert ref.result(timeout=60) == 8
    whole = app.runs.tree(ref.id)
    assert names(whole) == ["node", "node", ["node", "node"], ["node", "node", ["node", "node"]]]
    assert whole.run.input == 3
    assert not whole.has_more
    part = app.runs.tree(ref.id, limit=5)
    assert names(part) == ["node", "node", ["node", "node"], "node"]
    assert part.children[2].has_more
    assert app.runs.tree(ref.id, limit=3).has_more
    assert len(app.runs.tree(ref.id, limit=3).children) == 2


@pytest.mark.parametrize("ask", ["counts", "tree", "logs", "attempts"])
def test_of_no_run(app: Any, ask: str) -> None:
    with pytest.raises(RunNotFoundError):
        getattr(app.runs, ask)(NOBODY)


# --- what a run says of itself ---------------------------------------------------------------------------------------


def test_a_run_says_how_far_it_is(app: Any) -> None:
    go_on = threading.Event()

    @app.task(retries=1)
    def works(input: EmptyModel, ctx: Context) -> None:
        for n in range(1000):
            ctx.progress(n, 1000, f"file {n}")
        ctx.log("a line")
        if ctx.attempt_number == 1:
            assert go_on.wait(60)
            raise ValueError("again")
        ctx.progress(0.5)

    ref = works.run_no_wait()
    for counts in app.runs.watch(ref.id, interval=0.01):  # until it has said all
        if counts.progress == Progress(999, 1000, "file 999"):
            break
    go_on.set()
    ref.result(timeout=60)
    assert app.runs.counts(ref.id).progress == Progress(0.5, None, "")  # what was said last is there with the end
    assert [(line.seq >= 0, line.message) for line in app.runs.logs(ref.id)] == [(True, "a line")] * 2


async def test_progress_is_stored_now_and_then(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    engine = app.engine()
    before = engine.store.commit

    async def commit(worker: int, batch: Any) -> Any:
        commits.append(len(batch.logs))
        return await before(worker, batch)

    monkeypatch.setattr(engine.store, "commit", commit)

    @app.task
    async def works(input: EmptyModel, ctx: Context) -> None:
        for n in range(2000):
            ctx.progress(n)
            await asyncio.sleep(0)

    begin = time.monotonic()
    await works.aio_run()
    assert max(commits) == 1
    assert sum(commits) <= 2 + (time.monotonic() - begin) / PROGRESS_SECONDS


def test_what_is_no_progress(app: Any) -> None:
    @app.task
    def works(input: EmptyModel, ctx: Context) -> list[str]:
        said = []
        wrongs: list[Any] = [(-1,), ("half",), (1, "two"), (1, 2, 3), (1, 2, "\ud800"), (float("nan"),)]
        for wrong in wrongs:
            with pytest.raises(UsageError) as refused:
                ctx.progress(*wrong)
            said.append(str(refused.value))
        return said

    assert len(works.run()) == 6
