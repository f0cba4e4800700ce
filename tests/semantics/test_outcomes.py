"""How runs end, and what those who wait for them get: one model for every path."""

from __future__ import annotations

import pickle
import traceback
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from fanwood import (
    Context,
    EmptyModel,
    FailedTaskRunExceptionGroup,
    Fanwood,
    NonRetryableException,
    RetryAfterException,
    RunState,
    TaskRunCancelled,
    TaskRunError,
    TaskRunPoisoned,
    WhyCause,
)
from fanwood.model.commands import Batch, ClaimRequest, WorkerInfo
from tests.faults.processes import until


@pytest.fixture
def broken(app: Fanwood) -> Any:
    @app.task
    async def broken(input: int) -> int:
        if input % 2:
            raise KeyError(f"no {input}\nand a second line")
        return input

    return broken


def check(error: BaseException) -> None:
    assert type(error) is TaskRunError
    assert error.task_name == "broken"
    assert error.exc_type == "KeyError"
    assert "no 1" in error.message
    assert "raise KeyError" in error.traceback
    assert "fanwood/worker" not in error.traceback
    assert error.run_id in str(error)
    assert str(error).startswith("broken failed: KeyError: ")
    assert "\n" not in str(error)


def test_a_root_that_fails(app: Fanwood, broken: Any) -> None:
    with pytest.raises(TaskRunError) as caught:
        broken.run(1)
    check(caught.value)
    with pytest.raises(TaskRunError) as caught:
        broken.run_many([broken.create_bulk_run_item(n) for n in (0, 1, 2)])
    check(caught.value)
    with pytest.raises(TaskRunError) as caught:
        broken.run_no_wait(1).result()
    check(caught.value)
    check(pickle.loads(pickle.dumps(caught.value)))
    run = app.runs.list()[0]
    assert run.status is RunState.FAILED
    assert run.error == str(caught.value)


async def test_a_root_that_fails_async(app: Fanwood, broken: Any) -> None:
    for call in (broken.aio_run(1), broken.aio_run_many([broken.create_bulk_run_item(1)])):
        with pytest.raises(TaskRunError) as caught:
            await call
        check(caught.value)
    results = await broken.aio_run_many([broken.create_bulk_run_item(n) for n in range(4)], return_exceptions=True)
    assert [r for r in results if isinstance(r, int)] == [0, 2]
    check(results[1])


def test_children_that_fail_are_caught_by_either_colour(app: Fanwood, broken: Any) -> None:
    @app.task
    async def async_parent() -> list[Any]:
        try:
            await broken.aio_run(1)
        except TaskRunError as error:
            check(error)
        results = await broken.aio_run_many([broken.create_bulk_run_item(n) for n in range(4)], return_exceptions=True)
        check(results[1])
        return [r if isinstance(r, int) else type(r).__name__ for r in results]

    @app.task
    def sync_parent() -> list[Any]:
        try:
            broken.run(1)
        except TaskRunError as error:
            check(error)
        results = broken.run_many([broken.create_bulk_run_item(n) for n in range(4)], return_exceptions=True)
        check(results[1])
        return [r if isinstance(r, int) else type(r).__name__ for r in results]

    assert async_parent.run() == [0, "TaskRunError", 2, "TaskRunError"]
    assert sync_parent.run() == [0, "TaskRunError", 2, "TaskRunError"]


def test_an_uncaught_failure_of_a_child_names_the_whole_way(app: Fanwood, broken: Any) -> None:
    @app.task
    async def parent() -> None:
        await broken.aio_run(1)

    with pytest.raises(TaskRunError) as caught:
        parent.run()
    assert str(caught.value).startswith("parent failed: KeyError: ")
    assert "[in broken, run " in str(caught.value)


def test_without_return_exceptions_the_others_go_on(app: Fanwood, broken: Any) -> None:
    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> str:
        try:
            await broken.aio_run_many([broken.create_bulk_run_item(n) for n in range(10)])
        except TaskRunError:
            return ctx.task_run_id
        return ""

    states = [app.runs.get_run_ref(c.id) for c in app.runs.children(parent.run())]
    assert len(states) == 10
    for ref in states:
        try:
            ref.result(timeout=60)
        except TaskRunCancelled as error:  # pragma: no cover
            raise AssertionError("a sibling was cancelled") from error
        except TaskRunError:
            pass


def test_a_task_that_returns_none_has_an_output(app: Fanwood) -> None:
    @app.task
    async def nothing() -> None: ...

    assert nothing.run() is None
    assert nothing.run_many([nothing.create_bulk_run_item()]) == [None]


def test_an_output_that_does_not_travel_fails_that_run_only(app: Fanwood) -> None:
    @app.task
    async def leaf(input: int) -> Any:
        return {"items": [1, object()]} if input else "fine"

    results = leaf.run_many([leaf.create_bulk_run_item(n) for n in (0, 1)], return_exceptions=True)
    assert results[0] == "fine"
    assert isinstance(results[1], TaskRunError)
    assert "output.items[1]" in str(results[1])


def test_a_workflow_that_fails_raises_a_group(app: Fanwood) -> None:
    flow = app.workflow(name="flow")

    @flow.task()
    async def good() -> int:
        return 1

    @flow.task()
    async def bad() -> int:
        raise ValueError("bad")

    @flow.task()
    def worse() -> int:
        raise KeyError("worse")

    @app.task
    async def parent() -> list[str]:
        found: list[str] = []
        try:
            await flow.aio_run()
        except* TaskRunError as group:
            found = sorted(f"{e.task_name} {e.exc_type}" for e in group.exceptions if isinstance(e, TaskRunError))
        return found

    with pytest.raises(FailedTaskRunExceptionGroup) as caught:
        flow.run()
    errors = [e for e in caught.value.exceptions if isinstance(e, TaskRunError)]
    assert sorted(e.exc_type for e in errors) == ["KeyError", "ValueError"]
    assert all("raise" in e.traceback for e in errors)
    assert "2 of 3 steps of workflow flow failed" in str(caught.value)
    assert parent.run() == ["flow:bad ValueError", "flow:worse KeyError"]
    assert len(traceback.format_exception(caught.value)) > 1
    (result,) = flow.run_many([flow.create_bulk_run_item()], return_exceptions=True)
    assert isinstance(result, FailedTaskRunExceptionGroup)


# --- retries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_retries_are_used_up_and_counted(app: Fanwood, colour: str) -> None:
    seen: list[tuple[int, int, int]] = []

    def note(ctx: Context) -> None:
        seen.append((ctx.retry_count, ctx.attempt_number, ctx.max_attempts))
        raise ValueError(f"try {len(seen)}")

    if colour == "sync":

        @app.task(retries=2)
        def task(input: EmptyModel, ctx: Context) -> None:
            note(ctx)

    else:

        @app.task(retries=2)
        async def task(input: EmptyModel, ctx: Context) -> None:
            note(ctx)

    with pytest.raises(TaskRunError, match="try 3"):
        task.run()
    assert seen == [(0, 1, 3), (1, 2, 3), (2, 3, 3)]
    assert app.runs.list()[0].retry_count == 2


def test_no_retries_by_default(app: Fanwood, broken: Any) -> None:
    with pytest.raises(TaskRunError):
        broken.run(1)
    assert app.runs.list()[0].attempt == 1


def test_non_retryable(app: Fanwood) -> None:
    class Hopeless(NonRetryableException):
        pass

    tries: list[int] = []

    @app.task(retries=5)
    async def task() -> None:
        tries.append(1)
        raise Hopeless("never")

    with pytest.raises(TaskRunError, match="Hopeless: never"):
        task.run()
    assert len(tries) == 1


def test_retry_after_comes_when_it_says_and_uses_up_a_retry(app: Fanwood) -> None:
    times: list[int] = []

    @app.task(retries=1, backoff_factor=1000.0)
    async def task(input: EmptyModel, ctx: Context) -> int:
        times.append(app.clock.now())
        raise RetryAfterException("later", after=timedelta(milliseconds=120))

    with pytest.raises(TaskRunError, match="later"):
        task.run()
    assert len(times) == 2
    assert 0.12e6 <= times[1] - times[0] < 500e6


def test_backoff_grows_and_is_capped(app: Fanwood) -> None:
    times: list[int] = []

    @app.task(retries=3, backoff_factor=0.2, backoff_max_seconds=0.03)
    async def capped() -> None:
        times.append(app.clock.now())
        raise ValueError("again")

    with pytest.raises(TaskRunError):
        capped.run()
    pauses = [b - a for a, b in pairwise(times)]
    # 0.2 and 0.04 are capped at 0.03, 0.008 is not; jitter takes off a tenth at most.
    assert pauses[0] >= 0.027e6
    assert pauses[1] >= 0.027e6
    assert pauses[2] >= 0.0072e6


def test_a_retry_in_its_pause_is_queued_and_does_not_hold_a_slot(make_app: Any) -> None:
    app = make_app(slots=1)

    @app.task(retries=1, backoff_factor=1000.0)
    async def pausing(input: EmptyModel, ctx: Context) -> int:
        raise ValueError("pause")

    @app.task
    async def quick() -> str:
        return "quick"

    ref = pausing.run_no_wait()
    assert quick.run() == "quick"
    until(lambda: app.runs.why(ref.id).cause is WhyCause.DELAYED, "it pauses")
    assert quick.run() == "quick"
    assert not ref.status().is_terminal
    ref.cancel()


# --- poison --------------------------------------------------------------------------------------------------------


def test_a_run_whose_workers_die_fails_as_poison(make_app: Any) -> None:
    app = make_app(local_worker=False)

    @app.task(retries=9)
    async def deadly() -> None: ...

    async def die(store: Any) -> int:
        """A worker that takes the run, and is never heard of again."""
        worker = await store.register(WorkerInfo("victim", "elsewhere", 1, 1, ("deadly",)), ())
        done = await store.commit(worker, Batch(claim=ClaimRequest('["deadly"]', 1, idle=True)))
        await store.reap(worker, app.settings.deaths_limit)
        return len(done.claimed)

    ref = deadly.run_no_wait()
    for _ in range(3):
        assert not ref.status().is_terminal
        assert app.engine().call(die, changes=True).result() == 1
    with pytest.raises(TaskRunPoisoned, match="3 workers in a row died while executing deadly") as caught:
        ref.result(timeout=60)
    assert "\n" not in str(caught.value)
    assert app.runs.get(ref.id).retry_count == 0


def test_the_traceback_of_a_child_goes_with_its_error(app: Any) -> None:
    @app.task
    def leaf() -> None:
        raise ValueError("boom")

    @app.task
    def parent() -> None:
        leaf.run()

    with pytest.raises(TaskRunError) as raised:
        parent.run(timeout=60)
    assert str(raised.value).count("boom") == 1
    shown = "".join(traceback.format_exception(raised.value))
    assert shown.index("leaf.run()") < shown.index('raise ValueError("boom")')  # the root cause last, as in Python
    assert raised.value.traceback in shown
    assert f"in parent, run {raised.value.run_id}:\nTraceback" in shown


def test_what_notebooks_show(app: Any) -> None:
    @app.task
    def leaf(input: str) -> None:
        raise ValueError("<boom>")

    @app.task
    def parent() -> None:
        leaf.run("<input>")

    ref = parent.run_no_wait()
    with pytest.raises(TaskRunError):
        ref.result(timeout=60)
    info, (child,) = app.runs.get(ref.id), app.runs.children(ref.id)
    assert repr(info).startswith(f"RunInfo({ref.id!r}, task='parent', status=FAILED, error='parent failed: ValueError")
    assert len(repr(info)) < 400
    for html in (info._repr_html_(), child._repr_html_(), app.runs.counts(ref.id)._repr_html_()):
        assert "<boom>" not in html
        assert html.startswith("<table>")
    assert "1 failed" in app.runs.counts(ref.id)._repr_html_()
    assert app.runs.tree(ref.id)._repr_html_().count("FAILED") == 2


def test_what_is_declared_shows_itself_in_notebooks() -> None:
    """Nothing is opened for it: there is no such server."""
    app = Fanwood("postgresql://me:secret@nowhere.invalid/db")
    assert "secret" not in app._repr_html_()

    @app.task(name="<price>", retries=3, description="<of> & more")
    def price(input: dict[str, int]) -> list[float]:
        return []

    flow = app.workflow(name="flow", input_validator=dict)

    @flow.task()
    def pack(input: dict[str, int], ctx: Context) -> int:
        return 1

    app_html, task_html, flow_html = app._repr_html_(), price._repr_html_(), flow._repr_html_()
    assert all(html.startswith("<table>") and "<price>" not in html for html in (app_html, task_html, flow_html))
    assert all(part in app_html for part in ("nowhere.invalid", "&lt;price&gt;", "flow"))
    for part in ("&lt;of&gt; &amp; more", "dict[str, int]", "list[float]", "retries=3", __name__.rpartition(".")[2]):
        assert part in task_html
    assert "pack" in flow_html
    ref = price.get_run_ref("01890a5d-ac96-774b-bcce-b302099a8057")
    assert "01890a5d-ac96-774b-bcce-b302099a8057" in ref._repr_html_()
    assert "&lt;price&gt;" in ref._repr_html_()
