"""A run's stream: all chunks, in order, for whoever reads along and for whoever comes late."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from fanwood import (
    BlockingCallError,
    BytesChunk,
    Context,
    EvictionPolicy,
    Fanwood,
    PayloadTooLargeError,
    RunState,
    TextChunk,
    UsageError,
)
from fanwood.engine import inbox
from fanwood.errors import RunNotFoundError, StoreBusyError, TaskRunError
from tests.semantics.test_durable import until


async def collected(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


def test_whoever_reads_along_gets_all_of_it_and_so_does_who_comes_late(app: Fanwood) -> None:
    gate = threading.Event()
    given = ["a", "", "b\n", b"\0\xff", "ü\U0001f600", "\ud800", "nul\0"]
    got = ["a", "", "b\n", b"\0\xff", "ü\U0001f600", "\\ud800", "nul\\0"]

    @app.task
    async def talks(_: dict, ctx: Context) -> int:
        ctx.log("a line")
        for chunk in given[:3]:
            ctx.put_stream(chunk)
        while not gate.is_set():
            await asyncio.sleep(0.002)
        for chunk in given[3:]:
            await ctx.aio_put_stream(chunk)
        ctx.log("another")
        ctx.progress(1)
        return 1

    ref = talks.run_no_wait({})
    live = ref.stream()
    assert [next(live) for _ in range(3)] == got[:3]
    gate.set()
    assert list(live) == got[3:]
    late = list(app.runs.subscribe_to_stream(ref.id))
    assert late == got
    assert [type(chunk) for chunk in late] == [BytesChunk if isinstance(chunk, bytes) else TextChunk for chunk in got]
    assert [chunk.seq for chunk in late] == list(range(len(got)))
    assert {(chunk.attempt, chunk.starts_over) for chunk in late} == {(1, False)}
    assert asyncio.run(collected(ref.stream(after=4))) == got[5:]
    assert [line.message for line in app.runs.logs(ref.id)] == ["a line", "another"]
    assert list(ref.stream(after=10**6)) == []


def test_an_attempt_that_starts_over_says_so(app: Fanwood) -> None:
    @app.task(retries=2)
    async def talks(_: dict, ctx: Context) -> int:
        for number in range(3):
            ctx.put_stream(f"{ctx.attempt_number}.{number}")
            if ctx.attempt_number < 3 and number == ctx.attempt_number - 1:
                raise ValueError("again")
        return 1

    ref = talks.run_no_wait({})
    ref.result(60)
    chunks = [(str(chunk), chunk.starts_over) for chunk in ref.stream()]
    assert chunks == [("1.0", False), ("2.0", True), ("2.1", False), ("3.0", True), ("3.1", False), ("3.2", False)]
    assert [(str(chunk), chunk.starts_over) for chunk in ref.stream(after=0)] == chunks[1:]
    assert [(str(chunk), chunk.starts_over) for chunk in ref.stream(after=1)] == chunks[2:]


def test_a_durable_run_starts_over_only_with_a_new_try(app: Fanwood) -> None:
    """And then it says all of it again: who reads along has cleared what the try before had said."""

    @app.durable_task(retries=1, eviction_policy=EvictionPolicy(ttl=0))
    async def talks(_: dict, ctx: Context) -> int:
        ctx.put_stream("a")
        await ctx.aio_receive("on")
        ctx.put_stream("b")
        ctx.put_stream(b"c")
        if ctx.retry_count == 0:
            raise ValueError("again")
        await ctx.aio_receive("on")
        ctx.put_stream("d")
        return ctx.invocation_count

    ref = talks.run_no_wait({})
    for _ in range(2):
        until(app, ref.id, RunState.WAITING)
        app.runs.send(ref.id, "on")
    assert ref.result(60) > 2
    chunks = [(bytes(chunk) if isinstance(chunk, bytes) else str(chunk), chunk.starts_over) for chunk in ref.stream()]
    first = [("a", False), ("b", False), (b"c", False)]
    assert chunks == [*first, ("a", True), *first[1:], ("d", False)]


def test_more_than_a_page_keeps_its_order_below_a_parent_that_reads(app: Fanwood) -> None:
    @app.task
    def talks(count: int, ctx: Context) -> int:
        for number in range(count):
            ctx.put_stream(str(number))
        return count

    @app.task
    async def listens(count: int) -> list[str]:
        ref = await talks.aio_run_no_wait(count)
        return [str(chunk) async for chunk in ref.stream()]

    assert listens.run(1234) == [str(number) for number in range(1234)]


def test_what_is_put_waits_for_the_store(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "LOG_BYTES", 1)  # one chunk at a time

    @app.task
    async def talks(_: dict, ctx: Context) -> int:
        for number in range(20):
            await ctx.aio_put_stream(str(number))
        return 1

    @app.task
    def blocks(_: dict, ctx: Context) -> int:
        for number in range(20):
            ctx.put_stream(str(number))
        return 1

    for task in (talks, blocks):
        ref = task.run_no_wait({})
        ref.result(60)
        assert list(ref.stream()) == [str(number) for number in range(20)]


def test_on_a_loop_that_may_not_stand_still_it_is_an_error(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task
    async def talks(_: dict, ctx: Context) -> str:
        engine: Any = ctx._attempt.host.engine()
        monkeypatch.setattr(engine, "put_chunk", lambda _line, _patience: False)
        try:
            ctx.put_stream("a")
        except StoreBusyError as error:
            return str(error)
        return ""

    assert "aio_put_stream" in talks.run({})


def test_what_can_not_be_a_chunk(app: Fanwood) -> None:
    @app.task
    async def talks(what: str, ctx: Context) -> None:
        given: dict[str, Any] = {"number": 7, "none": None, "large": "x" * (256 * 1024 + 1), "wide": "ü" * 131_073}
        await ctx.aio_put_stream(given[what])

    for what, error in (("number", UsageError), ("none", UsageError), ("large", PayloadTooLargeError)):
        with pytest.raises(TaskRunError) as caught:
            talks.run(what)
        assert caught.value.exc_type == error.__name__
    with pytest.raises(TaskRunError, match=r"262,144\. Give it out in several"):
        talks.run("wide")


def test_streams_that_can_not_be_read(app: Fanwood) -> None:
    with pytest.raises(RunNotFoundError):
        next(app.runs.subscribe_to_stream("0" * 32))
    for after in (-2, 2**31, 1.5, float("nan"), "1"):
        with pytest.raises(UsageError, match="after must"):
            app.runs.subscribe_to_stream("0" * 32, after=after)  # type: ignore[arg-type]

    async def main() -> None:
        with pytest.raises(BlockingCallError):
            next(app.runs.subscribe_to_stream("0" * 32))

    asyncio.run(main())


def test_what_an_attempt_puts_that_is_over_is_not_there(app: Fanwood) -> None:
    gate, may = threading.Event(), threading.Event()

    @app.task
    def talks(_: dict, ctx: Context) -> None:
        ctx.put_stream("before")
        gate.set()
        may.wait(60)
        ctx.put_stream("after")

    ref = talks.run_no_wait({})
    assert gate.wait(60)
    stream = ref.stream()
    assert next(stream) == "before"
    ref.cancel()
    may.set()
    assert list(stream) == []
    assert list(ref.stream()) == ["before"]


def test_what_is_put_as_its_reader_looks_and_just_before_the_end_is_read(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends while he waits for what the store has of it."""
    gate, looked = threading.Event(), list[int]()

    @app.task
    async def talks(_: dict, ctx: Context) -> None:
        while not gate.is_set():
            await asyncio.sleep(0.002)
        ctx.put_stream("last words")

    ref = talks.run_no_wait({})
    store = app.engine().store
    logs = store.logs

    async def slow(*about: Any) -> Any:
        found = await logs(*about)
        if not looked:
            looked.append(1)
            gate.set()
            while not (await store.get(ref.key)).state.is_terminal:
                await asyncio.sleep(0.002)
        return found

    monkeypatch.setattr(store, "logs", slow)
    assert list(ref.stream()) == ["last words"]
