"""Who interrupts a call by hand is told what goes on, or that nothing was started."""

from __future__ import annotations

import asyncio
import builtins
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fanwood import Fanwood, UsageError, as_completed, home, wait
from fanwood.engine.engine import Engine
from fanwood.sdk.children import completing, endless
from tests.semantics.interrupting import interrupted_after


def interrupt(*_about: Any) -> Any:
    """As Ctrl-C does in that moment."""
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def ended(app: Fanwood) -> Any:
    @app.task
    async def number(n: int) -> int:
        return n

    return number


@pytest.fixture
def held(app: Fanwood) -> Any:
    """A task that ends when it is cancelled."""
    over = asyncio.Event()

    @app.task
    async def held(n: int) -> int:
        await over.wait()
        return n

    return held


def many(task: Any, count: int) -> Iterator[Any]:
    for n in range(count):
        yield task.create_bulk_run_item(n)
    interrupt()


@pytest.mark.parametrize("call", ["run", "run_no_wait", "run_many", "run_many_no_wait"])
def test_nothing_was_started(
    app: Fanwood, ended: Any, call: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server did not answer yet, or the items were still being made."""
    with monkeypatch.context() as broken:
        broken.setattr(app, "engine", interrupt)
        with pytest.raises(KeyboardInterrupt):
            getattr(ended, call)(many(ended, 0) if "many" in call else 1)
    assert "before it had started anything: no run of number was stored" in caplog.text
    assert app.runs.list() == []
    assert ended.run(2) == 2


def test_who_interrupts_the_opening_of_a_store_leaves_no_engine_behind(
    app: Fanwood, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines, opening, go_on = list[Engine](), threading.Event(), threading.Event()
    run = Engine._run

    async def slow(engine: Engine, started: Any) -> None:
        engines.append(engine)
        opening.set()
        await asyncio.to_thread(go_on.wait, 60)
        await run(engine, started)

    with monkeypatch.context() as late:
        late.setattr(Engine, "_run", slow)
        with pytest.raises(KeyboardInterrupt), interrupted_after(opening):
            ended.run(1)
    assert ended.run(2) == 2
    go_on.set()
    thread = engines[0]._thread
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()
    assert ended.run(3) == 3


def test_a_call_in_a_handler_does_not_wait_for_the_one_that_it_interrupts(
    app: Fanwood, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[BaseException] = []
    begin = home.begin

    def handler(*_: object) -> None:
        try:
            ended.run(1)
        except BaseException as error:
            said.append(error)

    def interrupted(*about: Any) -> Any:
        signal.raise_signal(signal.SIGUSR1)
        return begin(*about)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with monkeypatch.context() as late:
            late.setattr(home, "begin", interrupted)
            assert ended.run(2) == 2
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert isinstance(said[0], UsageError)
    assert "just being opened" in str(said[0])
    assert ended.run(3) == 3


@pytest.mark.parametrize("call", ["run_many", "run_many_no_wait"])
def test_some_of_a_bulk_goes_on(app: Fanwood, ended: Any, call: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        getattr(ended, call)(many(ended, 600))
    (line,) = [record.getMessage() for record in caplog.records if "interrupted" in record.getMessage()]
    assert "What it had started goes on" in line
    assert "number (500 runs, the first " in line
    first = line.partition("the first ")[2].partition(")")[0]
    assert app.runs.get_result(first, timeout=60) == 0


@pytest.mark.parametrize(
    "waits", [lambda refs: list(as_completed(refs)), wait, lambda refs: refs[0].result()], ids=["each", "all", "one"]
)
def test_what_was_waited_for_goes_on(
    held: Any, waits: Callable[[Any], Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [held.run_no_wait(n) for n in range(2)]
    monkeypatch.setattr(completing, "wait_for", interrupt)
    monkeypatch.setattr("fanwood.sdk.children.refs.wait_at_most", interrupt)
    with pytest.raises(KeyboardInterrupt):
        waits(refs)
    assert "What it waited for goes on" in caplog.text
    assert refs[0].id in caplog.text
    assert not any(ref.status().is_terminal for ref in refs)
    for ref in refs:
        ref.cancel()


def test_what_a_loop_had_under_way_is_cancelled(
    app: Fanwood, held: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endless, "wait_for", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(held.map(range(3)))
    assert "What was under way is cancelled: 3 run(s) of held" in caplog.text
    assert [str(run.status) for run in app.runs.list()] == ["CANCELLED"] * 3


@pytest.mark.parametrize("notebook", [True, False])
def test_a_cell_is_interrupted_as_its_coroutine_is_cancelled(
    app: Fanwood, notebook: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere that is no more than a cancelled coroutine, of which nothing is said."""
    if notebook:
        monkeypatch.setattr(builtins, "get_ipython", object, raising=False)
    cells: list[Callable[[], Any]] = []

    @app.task
    async def interrupts(n: int) -> int:
        cells.pop()()
        return n

    async def cell() -> None:
        waiting = asyncio.ensure_future(interrupts.aio_run(1))
        loop = asyncio.get_running_loop()
        cells.append(lambda: loop.call_soon_threadsafe(waiting.cancel))
        await asyncio.wait([waiting])

    asyncio.run(cell())
    assert ("What it had started goes on" in caplog.text) == notebook


def test_what_a_stream_had_under_way_is_cancelled_with_its_coroutine(app: Fanwood) -> None:
    """Outside of any task as well."""
    begun, over = asyncio.Event(), asyncio.Event()
    cancels: list[Callable[[], Any]] = []

    @app.task
    async def held(n: int) -> int:
        if not begun.is_set():
            begun.set()
            cancels.pop()()
        await over.wait()
        return n

    async def reads() -> None:
        async for _ in held.aio_map(range(3)):
            pass

    async def main() -> None:
        reading = asyncio.ensure_future(reads())
        loop = asyncio.get_running_loop()
        cancels.append(lambda: loop.call_soon_threadsafe(reading.cancel))
        await asyncio.wait([reading])

    asyncio.run(main())
    assert {str(run.status) for run in app.runs.list()} == {"CANCELLED"}
