"""What an application is told of its runs, and what it puts around their code."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import queue
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fanwood import Context, DeclarationError, EmptyModel, RunEvent, TaskRunError
from fanwood.engine.engine import Engine
from fanwood.model.commands import Outcome
from fanwood.sdk.declaring import hooks
from fanwood.sdk.running.attempt import Attempt
from fanwood.worker import untold, verdicts
from tests.serving import serving

COLOURS = pytest.mark.parametrize("colour", ["async", "sync"])


class Told:
    """Hooks that write down what they are told."""

    def __init__(self, app: Any, colour: str = "sync") -> None:
        self._queue: queue.Queue[tuple[str, RunEvent]] = queue.Queue()
        for what in ("failure", "retry", "complete", "cancel"):
            getattr(app, f"on_{what}")(self._hook(what, colour))

    def _hook(self, what: str, colour: str) -> Any:
        def hook(event: RunEvent) -> None:
            self._queue.put((what, event))

        async def aio_hook(event: RunEvent) -> None:
            await asyncio.sleep(0)
            hook(event)

        return hook if colour == "sync" else aio_hook

    def take(self, count: int) -> list[tuple[str, RunEvent]]:
        """So many. (What became of a run is told after it is recorded.)"""
        return [self._queue.get(timeout=60) for _ in range(count)]

    @property
    def is_empty(self) -> bool:
        return self._queue.empty()


@COLOURS
@pytest.mark.parametrize("hook", ["async", "sync"])
def test_hooks_are_told_of_every_retry_failure_and_completion(app: Any, colour: str, hook: str) -> None:
    told = Told(app, hook)

    def work(input: dict[str, int], ctx: Context) -> int:
        if ctx.attempt_number <= input["failures"]:
            raise ValueError(f"no stock, attempt {ctx.attempt_number}")
        return 1

    async def aio_work(input: dict[str, int], ctx: Context) -> int:
        return work(input, ctx)

    task = app.task(name="work", retries=1)(work if colour == "sync" else aio_work)
    task.run({"failures": 0}, additional_metadata={"customer": 7})
    ref = task.run_no_wait({"failures": 5})
    with pytest.raises(TaskRunError):
        ref.result(timeout=60)
    found = told.take(3)
    assert [what for what, _ in found] == ["complete", "retry", "failure"]
    complete, retry, failure = [event for _, event in found]
    assert (complete.task_name, complete.input, complete.additional_metadata) == (
        "work",
        {"failures": 0},
        {"customer": 7},
    )
    assert (complete.error, complete.exception, complete.retry_in) == (None, None, None)
    assert (retry.run_id, retry.root_id, retry.parent_id) == (ref.id, ref.id, None)
    assert (retry.attempt, retry.retry_count, retry.retry_in) == (1, 0, 0.0)
    assert (failure.attempt, failure.retry_count, failure.retry_in) == (2, 1, None)
    assert failure.error == "ValueError: no stock, attempt 2"
    assert isinstance(failure.exception, ValueError)
    assert failure.exception.__traceback__ is not None
    assert __file__ in failure.traceback
    assert "ValueError" in repr(failure)


def test_what_became_of_attempts_is_told_in_their_order(
    app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has reported the first goes on only when the second is over."""
    told, over = Told(app), threading.Event()
    report = Engine.report

    def report_and_wait(self: Engine, outcomes: list[Outcome]) -> None:
        report(self, outcomes)
        if any(outcome.retry for outcome in outcomes):
            assert over.wait(60)

    @app.task(retries=1)
    def work(input: EmptyModel, ctx: Context) -> None:
        raise ValueError(ctx.attempt_number)

    app.on_failure(lambda event: over.set())
    monkeypatch.setattr(Engine, "report", report_and_wait)
    with pytest.raises(TaskRunError):
        work.run(timeout=60)
    assert [(what, event.attempt) for what, event in told.take(2)] == [("retry", 1), ("failure", 2)]
    assert [r.levelname for r in caplog.records if r.name == "fanwood.runs"] == ["WARNING", "ERROR"]


def test_time_outs_and_children_are_told_of_as_well(app: Any) -> None:
    told = Told(app)

    @app.task(execution_timeout=0.05)
    async def slow() -> None:
        await asyncio.Event().wait()

    @app.task
    async def parent() -> None:
        await slow.aio_run()

    with pytest.raises(TaskRunError):
        parent.run(timeout=60)
    (_, child), (_, above) = sorted(told.take(2), key=lambda each: each[1].task_name, reverse=True)
    assert (child.task_name, child.exception, child.parent_id) == ("slow", None, above.run_id)
    assert "execution_timeout of 0.05 s" in (child.error or "")
    assert isinstance(above.exception, TaskRunError)


@COLOURS
@pytest.mark.parametrize("retries", [0, 1])
def test_what_ends_while_its_time_out_is_judged_is_told_of_once(
    app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, colour: str, retries: int
) -> None:
    """What is told, and logged, is what is recorded."""
    told, judged, over = Told(app), threading.Event(), threading.Event()
    timed_out = verdicts.timed_out

    def slowly_timed_out(attempt: Attempt) -> Outcome:
        judged.set()
        over.wait(60)  # it is over when it was told of
        return timed_out(attempt)

    app.on_complete(lambda event: over.set())
    monkeypatch.setattr(verdicts, "timed_out", slowly_timed_out)

    def work() -> int:
        judged.wait(60)
        return 1

    async def aio_work() -> int:
        await asyncio.to_thread(judged.wait, 60)
        return 1

    limited = app.task(execution_timeout=0.05, retries=retries)
    assert limited(work if colour == "sync" else aio_work).run(timeout=60) == 1
    app.hooks.flush(60)
    assert [what for what, _ in told.take(1)] == ["complete"]
    app.close()  # also what came late is told by then
    assert told.is_empty
    assert [r.getMessage() for r in caplog.records if r.name in ("fanwood.runs", "fanwood.engine")] == []


def test_what_was_handed_back_is_not_told_of(make_app: Any) -> None:
    app = make_app(local_worker=False, grace=0)
    told, begun, over = Told(app), threading.Event(), threading.Event()

    @app.task
    def endless() -> None:
        begun.set()
        over.wait(60)

    with serving(app.worker("w", slots=1)):
        endless.run_no_wait()
        assert begun.wait(60)
        over.set()
    app.close()
    assert told.is_empty or [what for what, _ in told.take(1)] == ["complete"]  # (it may end just before)
    assert told.is_empty


@COLOURS
def test_a_hook_that_raises_is_logged_and_harms_nothing(
    app: Any, colour: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: RunEvent) -> None:
        raise SystemExit("no more")

    async def aio_broken(event: RunEvent) -> None:
        raise asyncio.CancelledError

    app.on_complete(broken if colour == "sync" else aio_broken)
    told = Told(app)

    @app.task
    async def quick(input: int) -> int:
        return input

    assert [quick.run(n) for n in range(2)] == [0, 1]
    told.take(2)
    said = [record for record in caplog.records if record.name == "fanwood.hooks"]
    assert [record.levelno for record in said] == [logging.ERROR] * 2
    assert "a hook failed: test_a_hook_that_raises" in said[0].getMessage()
    assert said[0].exc_info


class Nameless:
    """A hook of which nothing can be told but that it is one."""

    def __call__(self, event: RunEvent) -> None:
        raise ValueError("no more")

    def __getattr__(self, name: str) -> Any:
        raise GeneratorExit(name)


def test_a_hook_whose_name_can_not_be_told_harms_nothing(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    app.on_complete(Nameless())
    told = Told(app)

    @app.task
    async def quick(input: int) -> int:
        return input

    assert [quick.run(n) for n in range(2)] == [0, 1]
    told.take(2)
    assert caplog.text.count("a hook failed: Nameless, told of quick") == 2


def test_a_hook_that_blocks_holds_up_hooks_only(
    app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "WAITING", 3)
    begun, go_on = threading.Event(), threading.Event()
    told: list[Any] = []

    @app.on_complete
    def blocks(event: RunEvent) -> None:
        begun.set()
        go_on.wait(60)
        told.append(event.input)

    @app.task
    async def quick(input: int) -> int:
        return input

    assert quick.run(0) == 0
    assert begun.wait(60)
    assert [quick.run(n) for n in range(1, 8)] == [*range(1, 8)]
    app.hooks.flush(0.01)
    said = [record.getMessage() for record in caplog.records if record.name == "fanwood.hooks"]
    assert said == [
        "3 events wait for hooks, which are too slow: further ones are let go of",
        "a hook has not returned within 0.01 s; 3 more events wait for it",
    ]
    go_on.set()
    app.hooks.flush(60)
    assert told == [0, 1, 2, 3]


def test_nothing_of_a_failure_stays_behind(app: Any) -> None:
    class Large:
        pass

    seen: list[weakref.ref[Large]] = []
    heard = threading.Event()

    @app.on_failure
    def hook(event: RunEvent) -> None:
        heard.set()

    @app.task
    def fails() -> None:
        large = Large()
        seen.append(weakref.ref(large))
        raise ValueError(1)

    with pytest.raises(TaskRunError):
        fails.run(timeout=60)
    assert heard.wait(60)
    app.close()
    gc.collect()
    assert seen[0]() is None


# --- middleware ------------------------------------------------------------------------------------------------------

request = contextvars.ContextVar("request", default="none")


@COLOURS
def test_middleware_surrounds_the_code(app: Any, colour: str) -> None:
    seen: list[str] = []

    @app.middleware
    def outer(ctx: Context) -> Iterator[None]:
        seen.append(f"begin {ctx.task_name} {ctx.attempt_number}")
        token = request.set(ctx.task_run_id)
        try:
            yield
        except ValueError as error:
            seen.append(f"raised {error}")
            raise
        finally:
            request.reset(token)
            seen.append("end")

    @app.middleware
    @contextmanager
    def inner(ctx: Context) -> Iterator[None]:
        seen.append("inner")
        yield

    def work(input: EmptyModel, ctx: Context) -> bool:
        if ctx.attempt_number == 1:
            raise ValueError("no stock")
        return request.get() == ctx.task_run_id

    async def aio_work(input: EmptyModel, ctx: Context) -> bool:
        await asyncio.sleep(0)
        return work(input, ctx)

    task = app.task(name="work", retries=1)(work if colour == "sync" else aio_work)
    assert task.run() is True
    assert seen == ["begin work 1", "inner", "raised no stock", "end", "begin work 2", "inner", "end"]


@COLOURS
def test_middleware_takes_no_failure_away_but_may_put_another_in_its_place(app: Any, colour: str) -> None:
    @app.middleware
    def hides(ctx: Context) -> Iterator[None]:
        try:
            yield
        except KeyError as error:
            raise LookupError("not there") from error
        except ValueError:
            pass

    def work(input: str) -> None:
        raise {"key": KeyError, "value": ValueError}[input](input)

    async def aio_work(input: str) -> None:
        work(input)

    task = app.task(name="work")(work if colour == "sync" else aio_work)
    for given, expected in (("key", "LookupError"), ("value", "ValueError")):
        with pytest.raises(TaskRunError) as raised:
            task.run(given, timeout=60)
        assert raised.value.exc_type == expected


def test_steps_are_surrounded_and_workflows_are_not(app: Any) -> None:
    seen: list[str] = []

    @app.middleware
    def names(ctx: Context) -> Iterator[None]:
        seen.append(ctx.task_name)
        yield

    flow = app.workflow(name="flow")

    @flow.task
    def step(input: EmptyModel, ctx: Context) -> int:
        return 1

    assert flow.run() == {"step": 1}
    assert seen == ["step"]


def test_what_is_no_middleware_and_no_hook(app: Any) -> None:
    async def coroutine(ctx: Context) -> None: ...

    async def generator(ctx: Context) -> Any:
        yield

    for wrong in (coroutine, generator, 7):
        with pytest.raises(DeclarationError, match="a middleware must be a generator function of a Context"):
            app.middleware(wrong)
    for wrong in (lambda: None, lambda ctx, call: call()):
        with pytest.raises(DeclarationError, match="a middleware must take one argument, a Context"):
            app.middleware(wrong)
    for wrong in ("no", lambda: None, lambda event, more: None):
        with pytest.raises(DeclarationError, match="a hook must be a function of a RunEvent"):
            app.on_failure(wrong)


def test_a_middleware_that_makes_no_context_manager_is_named(app: Any) -> None:
    @app.middleware
    def forgets_to_yield(ctx: Context) -> Any: ...

    @app.task
    def task() -> None: ...

    with pytest.raises(TaskRunError, match=r"forgets_to_yield must yield once, .* and is None"):
        task.run()


@COLOURS
def test_hooks_are_told_of_what_is_cancelled_while_it_executes(app: Any, colour: str) -> None:
    """With what is above it, and once each; not of what had not begun."""
    told, begun = Told(app), threading.Semaphore(0)

    def work(input: dict[str, int], ctx: Context) -> None:
        begun.release()
        while not ctx.is_cancelled:
            threading.Event().wait(0.01)

    async def aio_work(input: dict[str, int], ctx: Context) -> None:
        begun.release()
        await asyncio.Event().wait()

    task = app.task(name="work")(aio_work if colour == "async" else work)

    @app.task
    async def parent(input: EmptyModel) -> None:
        await task.aio_run_many([task.create_bulk_run_item({"n": n}) for n in range(2)])

    with serving(app.worker(slots=2)):
        ref = parent.run_no_wait()
        for _ in range(2):
            assert begun.acquire(timeout=60)
        late = task.run_no_wait({"n": 9})
        late.cancel()
        ref.cancel()
        events = told.take(3)
    assert {what for what, _ in events} == {"cancel"}
    assert sorted(event.task_name for _, event in events) == ["parent", "work", "work"]
    assert late.id not in {event.run_id for _, event in events}
    assert all(event.error and event.exception is None for _, event in events)
    assert told.is_empty


def test_hooks_are_told_of_what_failed_while_nobody_executed_it(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, by the next that serves the task; and not again by those who come later."""
    monkeypatch.setattr(untold, "EVERY", 0.0)
    monkeypatch.setattr(untold, "LATE_OF_SERVERS", 0)
    monkeypatch.setattr(untold, "AT_ONCE", 2)
    monkeypatch.setattr(untold, "TURN", 0.2)  # a worker that stops may have it
    app = make_app(local_worker=False, sweep=0.05)
    told = Told(app)

    @app.task(schedule_timeout=0.05)
    def late(n: int) -> int:
        return n

    def failed(*numbers: int) -> set[str]:
        refs = [late.run_no_wait(n, additional_metadata={"n": n}) for n in numbers]
        for ref in refs:
            with pytest.raises(TaskRunError):
                ref.result(timeout=60)
        return {ref.id for ref in refs}

    with serving(app.worker("first", slots=1)):  # from whose beginning on it is told
        while not app.engine().call(lambda store: store.turns("turns")).result():
            threading.Event().wait(0.01)
    for numbers in ((0, 1, 2, 3, 4), (5,)):
        ids = failed(*numbers)
        with serving(app.worker("next", slots=1)):
            events = told.take(len(numbers))
            [ended] = app.engine().call(lambda store: store.turns("turns")).result()
            while ended == app.engine().call(lambda store: store.turns("turns")).result()[0]:  # they were heard
                threading.Event().wait(0.01)
        assert {event.run_id for _, event in events} == ids
        assert sorted((event.input, event.additional_metadata["n"]) for _, event in events) == [(n, n) for n in numbers]
        assert {what for what, _ in events} == {"failure"}
        assert all("schedule_timeout of 0.05 s" in (event.error or "") for _, event in events)
    assert told.is_empty


@COLOURS
def test_a_hook_starts_runs(app: Any, colour: str) -> None:
    """The thread of the hooks begins where the first one is told, which may be in a task; what it starts are roots."""
    told: queue.Queue[Any] = queue.Queue()

    @app.task
    async def report(input: str) -> str:
        return input

    @app.on_failure
    def hook(event: RunEvent) -> None:
        try:
            told.put(report.run_no_wait(event.task_name))
        except BaseException as error:
            told.put(error)

    def sync_task() -> None:
        raise ValueError("no")

    async def async_task() -> None:
        raise ValueError("no")

    task = app.task(name="fails")(async_task if colour == "async" else sync_task)
    with pytest.raises(TaskRunError):
        task.run()
    ref = told.get(timeout=60)
    assert ref.result(timeout=60) == "fails", ref
