"""Several objects in one process, and several programs on one store: who executes whose runs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fanwood import (
    Context,
    DuplicateTaskError,
    Fanwood,
    RunState,
    SettingsError,
    TaskRunError,
    UsageError,
    WorkflowDeclarationError,
)
from fanwood.engine.liveness import host_identity
from fanwood.ids import id_bytes
from fanwood.model.commands import Batch, ClaimRequest, TaskInfo, WorkerInfo
from fanwood.sdk.children import spawning
from fanwood.sdk.declaring.origins import origin_of_file
from tests.semantics.interrupting import interrupted_after
from tests.serving import serving


@pytest.fixture
def make_shared(url: str) -> Iterator[Callable[..., Fanwood]]:
    """Makes objects that work together, as those of one process do."""
    made: list[Fanwood] = []

    def make(**settings: Any) -> Fanwood:
        made.append(Fanwood(url, **{"local_worker": True, **settings}))
        return made[-1]

    yield make
    for app in made:
        app.close()


# --- several objects -------------------------------------------------------------------------------------------------


def test_objects_of_one_process_on_one_store_work_together(make_shared: Callable[..., Fanwood]) -> None:
    ours, theirs = make_shared(), make_shared()

    @theirs.task
    async def child(n: int) -> int:
        return n + 1

    @ours.task
    async def parent(n: int) -> int:
        return sum(await child.aio_run_many([child.create_bulk_run_item(i) for i in range(n)]))

    ref = parent.run_no_wait(3)
    assert ref.result(timeout=60) == 6
    assert len(theirs.runs.children(ref.id)) == 3
    assert child.run(1) == 2
    assert ours.engine() is theirs.engine()
    assert ours.find("child") is child
    ours.close()
    assert child.run(2) == 3  # the other one still uses it
    assert parent.run(1) == 1


def test_a_worker_takes_tasks_of_objects_that_work_together(make_shared: Callable[..., Fanwood]) -> None:
    ours, theirs = make_shared(local_worker=False), make_shared(local_worker=False)

    @theirs.task
    async def child(n: int) -> int:
        return n + 1

    @ours.task
    async def parent(n: int) -> int:
        return await child.aio_run(n)

    for worker in (ours.worker("all"), theirs.worker("named", workflows=[child, parent])):
        assert sorted(worker.tasks) == ["child", "parent"]
        with serving(worker):
            assert parent.run(1, timeout=60) == 2


def test_a_task_that_a_new_object_declares_again_is_the_one_that_counts(make_shared: Callable[..., Fanwood]) -> None:
    """As in a notebook whose cells are executed again: not what the old object's worker knows."""

    def cells(answer: str) -> Any:
        app = make_shared()

        @app.task
        def task() -> str:
            return answer

        @app.task
        def parent() -> str:
            return task.run()

        return parent

    first, second = cells("old"), cells("new")
    assert [second.run(), first.run()] == ["new", "new"]
    assert cells("newest").run() == "newest"


def test_a_task_that_an_old_object_declares_again_is_the_one_that_counts(
    make_shared: Callable[..., Fanwood], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell that was executed before the one that made a new object is executed again."""
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    older, newer = make_shared(), make_shared()

    def cell(app: Fanwood, answer: str) -> Any:
        @app.task(name="task")
        async def task() -> str:
            return answer

        return task

    first, second = cell(older, "first"), cell(newer, "second")
    assert [first.run(), second.run()] == ["second", "second"]
    third = cell(older, "third")
    assert [first.run(), second.run(), third.run()] == ["third", "third", "third"]


def test_a_cell_that_declares_a_step_again_replaces_it(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = app.workflow(name="flow")

    def cell(answer: str) -> None:
        @flow.task()
        def first(_: dict[str, Any], ctx: Context) -> str:
            return answer

        @flow.task(parents=["first"])
        def second(_: dict[str, Any], ctx: Context) -> str:
            return f"{ctx.task_output(first)}, {answer}"

        @flow.on_success_task()
        def told(_: dict[str, Any], ctx: Context) -> None:
            said.append(answer)

    said: list[str] = []
    cell("old")
    assert flow.run()["second"] == "old, old"
    with pytest.raises(WorkflowDeclarationError, match="has a step named first already"):
        cell("by mistake")
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    cell("new")
    assert flow.run()["second"] == "new, new"
    assert said == ["old", "new"]


def test_a_cell_that_declares_a_task_again_replaces_it(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    def cell(answer: str) -> Any:
        @app.task(name="task")
        async def task() -> str:
            return answer

        return task

    old = cell("old")
    assert old.run() == "old"
    with pytest.raises(DuplicateTaskError):
        cell("by mistake")
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert cell("new").run() == "new"
    assert old.run() == "new"


def test_who_interrupts_a_wait_is_told_what_goes_on(
    app: Fanwood, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, begun, go_on, wait_for = threading.Event(), threading.Event(), threading.Event(), spawning.wait_for

    async def noted(*about: Any) -> None:
        waiting.set()
        await wait_for(*about)

    monkeypatch.setattr(spawning, "wait_for", noted)

    @app.task
    def task() -> int:
        begun.set()
        go_on.wait(60)
        return 1

    with pytest.raises(KeyboardInterrupt), interrupted_after(waiting):
        task.run()
    assert begun.wait(60)
    go_on.set()
    (run,) = app.runs.list()
    assert f"task (run {run.id})" in caplog.text
    assert app.runs.get_result(run.id, timeout=60) == 1


def test_other_settings_on_one_store_are_said(
    make_shared: Callable[..., Fanwood], caplog: pytest.LogCaptureFixture
) -> None:
    make_shared(slots=7).runs.list()
    make_shared(slots=8).runs.list()
    assert "with other settings (slots)" in caplog.text


def test_a_child_of_another_store_is_an_error_that_says_so(app: Fanwood, tmp_path: Path) -> None:
    with Fanwood(f"sqlite:///{tmp_path}/other.db", local_worker=True) as other:

        @other.task
        async def library(n: int) -> int:
            return n + 1

        @app.task
        async def parent(n: int) -> int:
            return await library.aio_run(n)

        @app.task
        async def detaching(n: int) -> int:
            return await library.aio_run(n, detached=True)

        with pytest.raises(TaskRunError, match=r"library can't be a child of parent: .*other\.db.*detached"):
            parent.run(1, timeout=60)
        assert detaching.run(1, timeout=60) == 2
        assert [run.parent_id for run in other.runs.list()] == [None]
        with pytest.raises(SettingsError, match="library is not of this object"):
            app.worker(workflows=[library])


def test_a_task_of_another_store_is_refused_among_those_of_this_one(app: Fanwood, tmp_path: Path) -> None:
    with Fanwood(f"sqlite:///{tmp_path}/other.db", local_worker=True) as other:

        @other.task
        async def library(n: int) -> int:
            return n + 1

        @app.task
        async def ours(n: int) -> int:
            return n

        @app.task
        async def mixing(n: int) -> list[int]:
            return await ours.aio_run_many([ours.create_bulk_run_item(n), library.create_bulk_run_item(n)])

        @app.task
        async def grouping(n: int, ctx: Context) -> None:
            async with ctx.group() as group:
                group.spawn(library, n)

        refused = r"library can't be asked for here: .*other\.db"
        for parent in (mixing, grouping):
            with pytest.raises(TaskRunError, match=refused):
                parent.run(1, timeout=60)
        with pytest.raises(UsageError, match=refused):
            ours.run_many([library.create_bulk_run_item(1)])
        assert other.runs.list() == []


# --- whose code executes it ------------------------------------------------------------------------------------------


def scripts(folder: Path, **sources: str) -> dict[str, Callable[[Fanwood], Any]]:
    """For each name a `declare(app)`, as a program in a file of that name would have it."""
    found: dict[str, Callable[[Fanwood], Any]] = {}
    for name, answer in sources.items():
        path = folder / f"{name}.py"
        path.write_text(SCRIPT.replace("ANSWER", repr(answer)))
        origin_of_file.cache_clear()
        space: dict[str, Any] = {"__name__": name}
        exec(compile(path.read_text(), str(path), "exec"), space)
        found[name] = space["declare"]
    return found


SCRIPT = """
def declare(app):
    @app.task
    async def child() -> str:
        return ANSWER

    @app.task
    async def task(n: int) -> str:
        return await child.aio_run()

    return task
"""


def test_a_script_executes_no_leftovers_of_another_and_its_own(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def make(local_worker: Any = "own") -> Fanwood:
        return Fanwood(url, shared=False, local_worker=local_worker)

    a = scripts(tmp_path, a="a")["a"]
    b = scripts(tmp_path, b="b")["b"]
    with make(local_worker=False) as client:
        left = a(client).run_no_wait(1)
    with make() as app:
        task = b(app)
        assert task.run(2, timeout=60) == "b"
        assert [task.run(n, timeout=60) for n in range(5)] == ["b"] * 5
        refs = task.run_many_no_wait([task.create_bulk_run_item(n) for n in range(300)])
        assert {ref.result(timeout=60) for ref in refs} == {"b"}
        assert app.runs.get_status(left.id) is RunState.QUEUED
        assert "1 queued run of task: started by another program than this, and not executed here" in caplog.text
    later = scripts(tmp_path, a="a, mended")["a"]  # the same program, another version of it
    with make() as app:
        assert later(app).run(3, timeout=60) == "a, mended"
        assert app.runs.get_result(left.id, timeout=60) == "a, mended"
        assert "1 queued run of task: other code than this (an earlier version of it, say) has served" in caplog.text
    with make(local_worker=False) as client:
        left = a(client).run_no_wait(4)
    with make(local_worker=True) as app:
        assert b(app).run(5, timeout=60) == "b"
        assert app.runs.get_result(left.id, timeout=60) == "b"
        assert "which executes them all the same" in caplog.text


def test_a_script_says_who_executes_what_it_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    declare = scripts(tmp_path, a="a")["a"]
    with Fanwood(url, shared=False) as script, Fanwood(url, shared=False) as other:
        declare(other)
        with serving(other.worker("the-one")):
            assert declare(script).run(1, timeout=60) == "a"
            assert f"What this process starts is executed by another: {other.worker_name} (process" in caplog.text


def test_two_scripts_at_once_execute_each_its_own(url: str, tmp_path: Path) -> None:
    a, b = scripts(tmp_path, a="a")["a"], scripts(tmp_path, b="b")["b"]
    own: dict[str, Any] = {"shared": False, "slots": 2, "local_worker": "own"}
    with Fanwood(url, **own) as one, Fanwood(url, **own) as two:
        tasks = [a(one), b(two)]
        refs = [[task.run_no_wait(n) for n in range(20)] for task in tasks]
        assert [{ref.result(timeout=60) for ref in each} for each in refs] == [{"a"}, {"b"}]


def test_what_is_in_memory_is_for_one_process() -> None:
    with pytest.raises(SettingsError, match="no other process"):
        Fanwood("memory:", processes=2).engine()


def test_what_was_in_memory_is_gone_with_the_last_one_who_had_it_open() -> None:
    first, second, other = (Fanwood(url, shared=False) for url in ("memory:one", "memory:one", "memory:two"))

    @first.task
    def task() -> int:
        return 1

    with other:
        with second:
            with first:
                task.run()
                assert len(second.runs.list()) == 1
            assert len(second.runs.list()) == 1
            assert not other.runs.list()
        assert not second.runs.list()
        second.close()


def test_what_a_dead_worker_executed_is_left_over_as_well(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Fanwood(url, shared=False, local_worker=False) as client:
        left = scripts(tmp_path, a="a")["a"](client).run_no_wait(1)
        engine = client.engine()
        dead = subprocess.Popen(["true"])
        dead.wait()
        about = WorkerInfo("dead", host_identity(), dead.pid, 1, ("task",))
        worker = engine.call(lambda store: store.register(about, [TaskInfo("task", "task", version=1)])).result()
        claim = Batch(claim=ClaimRequest('["task"]', 1))
        (run,) = engine.call(lambda store: store.commit(worker, claim)).result().claimed
        assert run.key == id_bytes(left.id)
        with Fanwood(url, shared=False, local_worker="own") as app:
            assert scripts(tmp_path, a="a, mended")["a"](app).run(2, timeout=60) == "a, mended"
            assert app.runs.get_result(left.id, timeout=60) == "a, mended"
    assert "1 queued run of task: other code than this (an earlier version of it, say) has served" in caplog.text
