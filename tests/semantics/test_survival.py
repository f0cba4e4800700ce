"""The engine survives what goes wrong in it; and if it does not, everybody is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from fanwood import Context
from fanwood.engine import services
from fanwood.engine.delivery import Delivery
from fanwood.errors import EngineClosedError, StoreError, StoreFullError
from fanwood.store.store import Store
from tests.conftest import MakeApp
from tests.faults.processes import until


def failing_once(verb: Any, error: BaseException) -> tuple[Any, list[BaseException]]:
    """The verb, which raises once and is then itself; and what it has raised."""
    raised: list[BaseException] = []

    async def once(self: Store, *arguments: Any, **named: Any) -> Any:
        if not raised:
            raised.append(error)
            raise error
        return await verb(self, *arguments, **named)

    return once, raised


@pytest.mark.parametrize("name", ["watch", "look_around", "renew", "tick"])
def test_a_service_that_fails_is_there_again(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """What needs all of them still works: mail, timers, the lease."""
    monkeypatch.setattr(services, "RESTART_SECONDS", 0.1)
    app = make_app(heartbeat=0.3, lease=60.0)
    kind = type(app.engine().store)
    once, raised = failing_once(getattr(kind, name), IndexError("list index out of range"))
    begun, told = threading.Event(), threading.Event()

    @app.task(retries=1, backoff_factor=1.0)
    async def wait(input: dict, ctx: Context) -> str:
        if ctx.retry_count == 0:
            raise ValueError("once more, a second later")
        begun.set()  # what is cancelled before that is never told
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.set()
            raise
        return "not cancelled"

    @app.task
    async def first(input: dict) -> None:
        pass

    first.run({})  # who begins to execute asks for some of it himself
    with caplog.at_level(logging.ERROR):
        monkeypatch.setattr(kind, name, once)
        client = make_app(url=app.settings.database_url, local_worker=False)
        ref = wait.run_no_wait({})
        assert begun.wait(60)
        client.runs.cancel(ref.id)
        assert told.wait(60)
        until(lambda: raised and "begins anew" in caplog.text, "it has failed, and is there again")
    assert app.engine().alive
    assert app.runs.get(ref.id).attempt == 2


def test_when_the_engine_dies_all_who_wait_are_told_why(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()
    begun = threading.Event()
    stopped = threading.Event()

    @app.task
    async def endless(input: dict) -> int:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()
        return 1

    @app.task
    async def child(input: dict) -> int:
        return 1

    ref = endless.run_no_wait({})
    told: dict[str, BaseException] = {}

    def ask(name: str, call: Any) -> threading.Thread:
        def asks() -> None:
            try:
                call()
            except BaseException as error:
                told[name] = error

        thread = threading.Thread(target=asks, daemon=True)
        thread.start()
        return thread

    engine = app.engine()
    held: Future[int] = Future()

    async def stays(_: Store) -> int:
        return await asyncio.wrap_future(held)

    assert begun.wait(60)
    threads = [ask("waits", ref.result), ask("calls", lambda: engine.call(stays).result())]
    child.run({})

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "deliver", broken)
        threads += [
            ask("spawns", lambda: child.run({})),
            ask("many", lambda: child.run_many([child.create_bulk_run_item({"n": 1})])),
        ]
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads), told
    assert not engine.alive
    for name in ("waits", "calls", "spawns", "many"):
        assert isinstance(told[name], EngineClosedError), name
        assert "a bug" in str(told[name])
    assert stopped.wait(60), "its code was told as well"
    with pytest.raises(EngineClosedError, match="a bug"):
        child.run({})


def test_what_could_not_be_published_is_published_with_the_next_call(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is declared late, while the store has some trouble that passes."""
    app = make_app(local_worker=True)

    @app.task
    def first(n: int) -> int:
        return n

    assert first.run(1) == 1
    kind = type(app.engine().store)
    once, raised = failing_once(kind.publish, StoreFullError("no room"))
    monkeypatch.setattr(kind, "publish", once)

    @app.task
    def second(n: int) -> int:
        return n

    with contextlib.suppress(StoreFullError):  # a server's is waited out
        second.run(2)
    assert raised
    assert [first.run(3), second.run(4)] == [3, 4]
    assert "second" in {task.name for task in app.engine().call(lambda store: store.tasks()).result()}


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt, SystemExit, asyncio.CancelledError, BaseException, GeneratorExit, StopIteration, KeyError],
)
def test_a_store_may_raise_what_means_something_else_elsewhere(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """A commit is tried again, a service begins anew, and who calls is told; the engine goes on."""
    app = make_app(sweep=0.05, heartbeat=0.1)
    monkeypatch.setattr(services, "RESTART_SECONDS", 0.01)

    @app.task
    def one(n: int) -> int:
        return n

    assert one.run(0) == 0
    kind = type(app.engine().store)
    for name in ["commit", "renew", "tick", "push", "cancel"]:
        once, raised = failing_once(getattr(kind, name), error())
        with monkeypatch.context() as patch:
            patch.setattr(kind, name, once)
            ref = one.run_no_wait(1)
            assert ref.result(timeout=60) == 1
            if name in ("push", "cancel"):
                with pytest.raises(StoreError, match=error.__name__):
                    app.runs.cancel(ref.id) if name == "cancel" else app.events.push("key", 1)
            elif name != "tick":
                until(lambda seen=raised: bool(seen), f"{name} has failed")
    assert app.engine().alive
    assert one.run(2) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, StopIteration, KeyError])
def test_a_store_that_can_not_be_opened_says_so(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    app = make_app()
    kind = type(app.engine().store)
    other = make_app(shared=False)
    once, _ = failing_once(kind.secret, error())
    monkeypatch.setattr(kind, "secret", once)
    with pytest.raises(StoreError, match=error.__name__):
        other.engine()
    assert other.engine().alive


def test_who_is_taken_apart_is_not_told_of_trouble(caplog: pytest.LogCaptureFixture) -> None:
    """A loop that is gone lets go of its coroutines, in whichever task that is."""
    loop, supervision = asyncio.new_event_loop(), services.Services(lambda error: pytest.fail(str(error)))

    async def begin() -> asyncio.Task[None]:
        task = loop.create_task(supervision._supervised("a service", asyncio.Event().wait))  # pyright: ignore[reportArgumentType]
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(begin())

    async def another() -> None:
        task.get_coro().close()

    asyncio.run(another())
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    assert not caplog.records


def test_who_closes_while_another_thread_begins_is_not_held_up(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is queued was claimed and handed back again, for ever, as nobody was left to execute it."""
    app, client = make_app(local_worker=True), make_app(local_worker=False)

    def one(n: int) -> int:
        return n

    task = app.task(one)
    client.task(one).run_many_no_wait([client.find("one").create_bulk_run_item(n) for n in range(3)])
    engine = app.engine()
    kind = type(engine.store)
    contended, reached, go_on = kind.contended, threading.Event(), threading.Event()

    async def slowly(self: Store, worker_id: int) -> frozenset[str]:
        reached.set()
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        return await contended(self, worker_id)

    def begin() -> None:
        with contextlib.suppress(EngineClosedError):
            task.run(1)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "contended", slowly)
        threads = [threading.Thread(target=call, daemon=True) for call in (begin, app.close)]
        threads[0].start()
        assert reached.wait(60)
        threads[1].start()
        until(lambda: engine._claims._paused, "it is being closed")
        go_on.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert task.run(2) == 2  # opened again
