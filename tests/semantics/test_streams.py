"""Streams give out any number of results in bounded memory; who leaves one early leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest

from fanwood import (
    BlockingCallError,
    Budget,
    BudgetExceeded,
    ChildKeyConflictError,
    Context,
    EngineClosedError,
    Fanwood,
    PayloadError,
    RunState,
    TaskRunError,
    UsageError,
    aio_wait,
    as_completed,
    wait,
)
from fanwood.errors import StoreError, WaitTimeoutError
from fanwood.sdk.running.current import current_attempt


@pytest.fixture
def double(app: Fanwood) -> Any:
    @app.task
    async def double(n: int) -> int:
        if n < 0:
            raise ValueError(f"{n} is negative")
        return 2 * n

    return double


@pytest.fixture
def gates() -> dict[int, threading.Event]:
    return {n: threading.Event() for n in range(10)}


@pytest.fixture
def held(app: Fanwood, gates: dict[int, threading.Event]) -> Any:
    """A task that ends when it is let."""

    @app.task
    async def held(n: int) -> int:
        while not gates[n].is_set():
            await asyncio.sleep(0.002)
        return n

    return held


def states(app: Fanwood, run: str) -> list[str]:
    return sorted(str(child.status) for child in app.runs.children(run))


def until(condition: Any) -> None:
    gave_up = threading.Event()
    timer = threading.Timer(60, gave_up.set)
    timer.start()
    try:
        while not condition():
            assert not gave_up.wait(0.01), "it has not come true within a minute"
    finally:
        timer.cancel()


@pytest.mark.parametrize("window", [None, 1, 7])
@pytest.mark.parametrize("ordered", [True, False])
def test_in_a_task_all_results_come(app: Fanwood, double: Any, window: int | None, ordered: bool) -> None:
    async def numbers(count: int) -> AsyncIterator[int]:
        for n in range(count):
            if n % 7 == 0:
                await asyncio.sleep(0)
            yield n

    @app.task
    async def parent(count: int, ctx: Context) -> list[list[int]]:
        of_list = [x async for x in double.aio_map(list(range(count)), window=window, ordered=ordered)]
        of_stream = [x async for x in double.aio_map(numbers(count), window=window, ordered=ordered)]
        return [of_list, of_stream]

    @app.task
    def blocking(count: int) -> list[int]:
        return list(double.map((n for n in range(count)), window=window, ordered=ordered))

    for count in (0, 1, 30):
        whole = [2 * n for n in range(count)]
        for results in [*parent.run(count), blocking.run(count)]:
            assert (results if ordered else sorted(results)) == whole


def test_outside_of_tasks(app: Fanwood, double: Any) -> None:
    assert list(double.map(range(25), window=4)) == [2 * n for n in range(25)]

    async def main() -> list[int]:
        with pytest.raises(BlockingCallError):
            double.map([1])
        return [x async for x in double.aio_map([{"n": 1}["n"], 2, double.create_bulk_run_item(3, key="k")])]

    assert asyncio.run(main()) == [2, 4, 6]


@pytest.mark.parametrize("ordered", [True, False])
def test_no_more_is_asked_for_than_the_window_allows(
    app: Fanwood, held: Any, gates: dict[int, threading.Event], ordered: bool
) -> None:
    asked: list[int] = []
    given: list[int] = []

    def inputs() -> Iterator[int]:
        for n in range(10):
            asked.append(n)
            yield n

    @app.task
    async def parent() -> list[int]:
        async for result in held.aio_map(inputs(), window=3, ordered=ordered):
            given.append(result)
            assert len(asked) - len(given) <= 3
        return given

    run = parent.run_no_wait()
    until(lambda: len(app.runs.children(run.id)) == 3)
    for n in (1, 2):
        gates[n].set()
    if ordered:  # the first has not ended: what came after it is kept, and counts
        until(lambda: states(app, run.id) == ["COMPLETED", "COMPLETED", "RUNNING"])
        assert asked == [0, 1, 2]
        assert given == []
    else:
        until(lambda: len(asked) == 5 and len(given) == 2)
        assert sorted(given) == [1, 2]
    for gate in gates.values():
        gate.set()
    assert sorted(run.result(60)) == list(range(10))


@pytest.mark.parametrize("ordered", [True, False])
def test_a_failure_ends_the_stream_when_it_is_its_turn(
    app: Fanwood, double: Any, held: Any, gates: dict[int, threading.Event], ordered: bool
) -> None:
    @app.task
    async def parent(_: dict) -> list[Any]:
        given: list[Any] = []
        inputs = [double.create_bulk_run_item(1), double.create_bulk_run_item(-1), *range(2, 5)]
        try:
            async for result in held.aio_map(inputs, ordered=ordered):
                given.append(result)  # noqa: PERF401  (of a list that breaks off nothing would be left)
        except TaskRunError as error:
            given.append(error.exc_type)
        return given

    run = parent.run_no_wait({})
    assert run.result(60) == [2, "ValueError"]
    until(lambda: states(app, run.id) == ["CANCELLED", "CANCELLED", "CANCELLED", "COMPLETED", "FAILED"])


def test_errors_in_their_places(app: Fanwood, double: Any) -> None:
    results = list(double.map([1, -1, 2], return_exceptions=True))
    assert [result if isinstance(result, int) else type(result) for result in results] == [2, TaskRunError, 4]


@pytest.mark.parametrize("colour", ["async", "sync"])
@pytest.mark.parametrize("how", ["break", "close", "raise"])
def test_who_leaves_early_leaves_nothing_behind(
    app: Fanwood, held: Any, gates: dict[int, threading.Event], how: str, colour: str
) -> None:
    gates[0].set()

    def leave() -> None:
        if how == "raise":
            raise ValueError("enough")

    @app.task
    async def awaits(_: dict) -> int | None:
        stream, result = held.aio_map(range(10), window=4), None
        async for result in stream:  # noqa: B007
            leave()
            break
        if how == "close":
            await stream.aclose()
        return result

    @app.task
    def blocks(_: dict) -> int | None:
        stream, result = held.map(range(10), window=4), None
        for result in stream:  # noqa: B007
            leave()
            break
        if how == "close":
            stream.close()
        return result

    run = (awaits if colour == "async" else blocks).run_no_wait({})
    if how == "raise":
        with pytest.raises(TaskRunError, match="enough"):
            run.result(60)
    else:
        assert run.result(60) == 0
    until(lambda: set(states(app, run.id)) == {"COMPLETED", "CANCELLED"})


@pytest.mark.parametrize("trouble", [StoreError, KeyError])
@pytest.mark.parametrize("color", ["sync", "async"])
def test_what_a_client_gives_up_and_cannot_be_cancelled_hides_no_failure(
    app: Fanwood,
    held: Any,
    gates: dict[int, threading.Event],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    color: str,
    trouble: type[Exception],
) -> None:
    @app.task
    async def some(n: int) -> int:
        if n == 0:
            raise ValueError("the first one")
        return await held.aio_run(n)

    async def raising(*_: Any) -> Any:
        raise trouble("of the store")

    async def in_async() -> None:
        async for _ in some.aio_map(range(5)):
            pass

    monkeypatch.setattr(app.engine().store, "to_many", raising)
    with pytest.raises(TaskRunError, match="the first one"):
        asyncio.run(in_async()) if color == "async" else list(some.map(range(5)))
    stream = some.map(range(1, 5))
    gates[1].set()
    assert next(stream) == 1
    stream.close()
    assert caplog.text.count("what nobody waits for any more could not be cancelled") == 2
    assert "of the store" in caplog.text
    for gate in gates.values():
        gate.set()
    assert held.run(1) == 1


def test_a_wait_that_is_cancelled_cancels_what_is_under_way(
    app: Fanwood, held: Any, gates: dict[int, threading.Event]
) -> None:
    over = asyncio.Event()

    @app.task
    async def parent(_: dict, ctx: Context) -> int:
        async def expire(limit: asyncio.Timeout) -> None:
            while len(await app.runs.aio_children(ctx.task_run_id)) < 3:
                await asyncio.sleep(0.002)
            limit.reschedule(0)

        limit = asyncio.timeout(None)
        expires = asyncio.ensure_future(expire(limit))
        with contextlib.suppress(TimeoutError):
            async with limit:
                async for _ in held.aio_map(range(3)):
                    pass
        await expires
        await over.wait()
        return 1

    run = parent.run_no_wait({})
    until(lambda: states(app, run.id) == ["CANCELLED"] * 3)
    assert run.status() is RunState.RUNNING
    run.cancel()


def test_outside_of_tasks_as_well(app: Fanwood, held: Any, gates: dict[int, threading.Event]) -> None:
    gates[0].set()
    stream = held.map(range(10), window=3)
    assert next(stream) == 0
    stream.close()
    until(lambda: {str(run.status) for run in app.runs.list()} == {"COMPLETED", "CANCELLED"})


def test_a_new_trial_finds_what_was_done(app: Fanwood) -> None:
    done: list[int] = []

    @app.task
    async def child(n: int) -> int:
        done.append(n)
        return n

    @app.task(retries=1)
    async def parent(_: dict, ctx: Context) -> int:
        total = 0
        async for result in child.aio_map([1, 1, 2, 3, 3, 3], window=2):
            total += result
            if ctx.attempt_number == 1 and result == 2:
                raise ValueError("once more")
        return total

    assert parent.run({}) == 13
    assert sorted(done) in (
        [1, 1, 2, 3, 3, 3],
        [1, 1, 2, 3, 3, 3, 3],
    )  # it was under way


async def given_out(stream: Any, refused: type[Exception]) -> list[int]:
    """What it gives out before it is refused so."""
    found: list[int] = []
    try:
        async for result in stream:
            found.append(result)  # noqa: PERF401  (what came before the error is needed)
    except refused:
        return found
    raise AssertionError(f"no {refused.__name__} came")


@pytest.mark.parametrize("kind", ["plain", "durable", "sync"])
@pytest.mark.parametrize("how", [{}, {"ordered": False}, {"return_exceptions": True}, {"window": 2}])
@pytest.mark.parametrize("blocking", [True, False])
def test_what_a_source_gave_before_it_failed_comes_first(
    app: Fanwood, held: Any, gates: dict[int, threading.Event], blocking: bool, how: dict[str, Any], kind: str
) -> None:
    def broken() -> Iterator[int]:
        for n in range(3):
            yield n
            if how.get("window") == 2:
                gates[n].set()
        for gate in gates.values():
            gate.set()
        raise OSError("the disk is gone")

    async def breaks() -> AsyncIterator[int]:
        for n in broken():
            yield n

    async def results() -> list[int]:
        return await given_out(held.aio_map(broken() if blocking else breaks(), **how), OSError)

    @app.task
    async def plain(_: dict) -> list[int]:
        return await results()

    @app.durable_task
    async def durable(_: dict) -> list[int]:
        return await results()

    @app.task
    def sync(_: dict) -> list[int]:
        found: list[int] = []
        with pytest.raises(OSError, match="the disk is gone"):
            found.extend(held.map(broken(), **how))
        return found

    found = {"plain": plain, "durable": durable, "sync": sync}[kind].run({})
    assert (sorted(found) if how.get("ordered") is False else found) == [0, 1, 2]


def test_a_source_whose_own_wait_was_cancelled_ends_the_stream(
    app: Fanwood, held: Any, gates: dict[int, threading.Event]
) -> None:
    async def cancelled() -> AsyncIterator[int]:
        yield 0
        raise asyncio.CancelledError

    @app.task
    async def parent(_: dict) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            async for _result in held.aio_map(cancelled()):
                pass
        return "on"

    run = parent.run_no_wait({})
    assert run.result(60) == "on"
    until(lambda: set(states(app, run.id)) <= {"CANCELLED"})


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("wrong", ["three", Decimal("1e9999")])
def test_what_came_before_an_input_that_can_not_be_comes_first(double: Any, ordered: bool, wrong: object) -> None:
    found: list[int] = []
    with pytest.raises(PayloadError):
        found.extend(double.map([1, 2, wrong, 4], ordered=ordered))
    assert sorted(found) == [2, 4]


@pytest.mark.parametrize("ordered", [True, False])
def test_what_came_before_what_is_refused_comes_first(app: Fanwood, double: Any, ordered: bool) -> None:
    @app.task
    async def limited(_: dict) -> list[int]:
        return await given_out(double.aio_map(range(9), window=1, ordered=ordered), BudgetExceeded)

    @app.task
    async def twice(_: dict) -> list[int]:
        keys = ["a", None, "a", None]
        items = [double.create_bulk_run_item(n, child_key=key) for n, key in enumerate(keys)]
        return await given_out(double.aio_map(items, window=2, ordered=ordered), ChildKeyConflictError)

    assert limited.run({}, budget=Budget(runs=4)) == [0, 2, 4, 6]
    assert sorted(twice.run({}))[:2] == [0, 2]


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_of_several_that_are_refused_at_once_none_is_waited_for(make_app: Any, colour: str) -> None:
    """What is shared and what is not are two requests, whose refusals may both be there when the stream looks."""
    app = make_app(slots=40)

    @app.task
    async def double(n: int) -> int:
        return 2 * n

    shared, alone = {"share": "tree"}, dict[str, Any]()
    items = [double.create_bulk_run_item(n, **(shared if n % 2 else alone)) for n in range(6)]
    if colour == "async":

        @app.task
        async def limited(input: dict) -> list[int]:
            return [result async for result in double.aio_map(items, window=4, ordered=False)]
    else:

        @app.task
        def limited(input: dict) -> list[int]:
            return list(double.map(items, window=4, ordered=False))

    refs = [limited.run_no_wait({}, budget=Budget(runs=1)) for _ in range(20)]
    for ref in refs:
        with pytest.raises(TaskRunError, match="BudgetExceeded"):
            ref.result(120)


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_stream_whose_app_is_closed_ends(make_app: Any, colour: str) -> None:
    """Also if that is between two of its requests: who gives it up waits for no answer to one that was not taken."""
    app = make_app(local_worker=True)

    @app.task
    async def same(input: int) -> int:
        return input

    def inputs() -> Iterator[int]:
        yield 1
        app.close()
        yield 2

    async def gathered() -> list[int]:
        async def source() -> AsyncIterator[int]:
            yield 1
            await app.aio_close()
            yield 2

        return [one async for one in same.aio_map(source(), window=1)]

    with pytest.raises(EngineClosedError):
        asyncio.run(gathered()) if colour == "async" else list(same.map(inputs(), window=1))
    assert same.run(3) == 3


def test_a_failure_before_the_end_of_a_source_that_fails_is_told_first(app: Fanwood, double: Any) -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield -1
        raise OSError("the disk is gone")

    stream = double.map(broken())
    assert next(stream) == 2
    with pytest.raises(TaskRunError, match="-1 is negative"):
        next(stream)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"inputs": 3}, "inputs must be inputs of double to iterate over"),
        ({"inputs": "abc"}, "inputs must be"),
        ({"inputs": {"n": 1}}, "inputs must be"),
        ({"inputs": [1], "window": 0}, "window must be at least 1"),
        ({"inputs": [1], "window": 2**63}, "window must be at most"),
        ({"inputs": [1], "window": 1.5}, "window must be a whole number"),
        ({"inputs": [1], "window": float("nan")}, "window must be a whole number"),
        ({"inputs": [1], "ordered": 1}, "ordered must be True or False"),
        ({"inputs": [1], "return_exceptions": None}, "return_exceptions must be"),
        ({"inputs": [1], "child_key": "k"}, "child_key names one run"),
        ({"inputs": [1], "idempotency_key": "k"}, "idempotency_key names one run"),
        ({"inputs": [1], "priority": "high"}, "priority must be"),
        ({"inputs": [1], "prority": 1}, "Did you mean priority"),
    ],
)
def test_what_can_not_be_is_refused_at_the_call(double: Any, given: dict[str, Any], match: str) -> None:
    for call in (double.map, double.aio_map):
        with pytest.raises(UsageError, match=match):
            call(**given)


def test_a_blocking_stream_reads_no_async_iterable(double: Any) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(UsageError, match=r"Use double\.aio_map"):
        double.map(numbers())


def test_mock_runs_stream_too(app: Fanwood, double: Any) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    @app.task
    async def parent(_: dict) -> list[int]:
        refs = [await double.aio_run_no_wait(n) for n in (7, 8)]
        ended = [await ref async for ref in as_completed(refs)]
        done, not_done = await aio_wait(refs)
        assert (done, not_done) == (set(refs), set())
        return [*[x async for x in double.aio_map(numbers())], *[x async for x in double.aio_map([3])], *ended]

    assert asyncio.run(parent.aio_mock_run({}, children={double: lambda n: 10 * n})) == [10, 20, 30, 70, 80]


# --- as completed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("colour", ["async", "sync"])
def test_references_in_the_order_of_their_ends(
    app: Fanwood, held: Any, gates: dict[int, threading.Event], colour: str, inside: bool
) -> None:
    order: list[int] = []
    turns = {2: 0, 0: 1, 1: None}  # who is let after whom
    gates[2].set()

    def came(result: int) -> None:
        order.append(result)
        if (then := turns[result]) is not None:
            gates[then].set()

    async def awaits() -> None:
        refs = await held.aio_run_many_no_wait([held.create_bulk_run_item(n) for n in range(3)])
        async for ref in as_completed([*refs, refs[0]]):
            assert ref in refs
            came(await ref)

    def blocks() -> None:
        refs = held.run_many_no_wait([held.create_bulk_run_item(n) for n in range(3)])
        for ref in as_completed(iter(refs)):
            came(ref.result())

    @app.task
    async def parent(_: dict) -> None:
        await awaits()

    @app.task
    def blocking(_: dict) -> None:
        blocks()

    if inside:
        (parent if colour == "async" else blocking).run({})
    elif colour == "async":
        asyncio.run(awaits())
    else:
        blocks()
    assert order == [2, 0, 1]


def test_waiting_for_some(app: Fanwood, held: Any, double: Any, gates: dict[int, threading.Event]) -> None:
    refs = [held.run_no_wait(n) for n in range(3)]
    assert wait(refs, timeout=0) == (set(), set(refs))
    gates[1].set()
    done, not_done = wait(refs, return_when="FIRST_COMPLETED")
    assert [ref.result() for ref in done] == [1]
    assert not_done == {refs[0], refs[2]}
    bad = double.run_no_wait(-1)
    done, not_done = wait([*refs, bad], return_when="FIRST_EXCEPTION")
    assert bad in done
    assert {refs[0], refs[2]} <= not_done
    with pytest.raises(WaitTimeoutError, match=r"of 3 run"):
        list(as_completed(refs, timeout=0.02))
    for gate in gates.values():
        gate.set()
    assert asyncio.run(aio_wait(refs)) == (set(refs), set())
    assert wait([]) == (set(), set())
    assert list(as_completed([])) == []


def test_who_only_looks_finds_what_has_ended(
    app: Fanwood, held: Any, double: Any, gates: dict[int, threading.Event]
) -> None:
    ended, living = double.run_no_wait(4), held.run_no_wait(1)
    ended.result()
    fresh = double.get_run_ref(str(ended))
    assert fresh.result(timeout=0) == 8
    assert wait([fresh, living], timeout=0) == ({fresh}, {living})
    assert [ref.result() for ref in as_completed([fresh], timeout=0)] == [8]
    with pytest.raises(WaitTimeoutError):
        living.result(timeout=0)

    @app.task
    async def parent(_: dict) -> list[int]:
        done, _left = await aio_wait([double.get_run_ref(str(ended)), living], timeout=0)
        return [await fresh.aio_result(timeout=0), *[ref.result() for ref in done]]

    assert parent.run({}) == [8, 8]
    gates[1].set()


@pytest.mark.parametrize("inside", [True, False])
def test_of_many_references_some_have_ended_before(app: Fanwood, double: Any, inside: bool) -> None:
    """They are looked at some at a time."""

    async def both() -> list[int]:
        before = await double.aio_run_many([double.create_bulk_run_item(n) for n in range(300)], wait_for_result=False)
        await aio_wait(before)
        after = await double.aio_run_many(
            [double.create_bulk_run_item(n) for n in range(300, 600)], wait_for_result=False
        )
        return [await ref async for ref in as_completed([app.runs.get_run_ref(ref.id) for ref in (*before, *after)])]

    @app.task
    async def parent(_: dict) -> list[int]:
        return await both()

    found = parent.run({}) if inside else asyncio.run(both())
    assert sorted(found) == [2 * n for n in range(600)]


def test_references_that_are_none_are_refused(held: Any) -> None:
    with pytest.raises(UsageError, match="refs must be a list"):
        as_completed(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"refs\[0\] must be a reference"):
        wait(["a"])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="return_when must be"):
        wait([], return_when="SOON")  # type: ignore[arg-type]


def test_who_leaves_as_completed_leaves_the_runs_alone(
    app: Fanwood, held: Any, gates: dict[int, threading.Event]
) -> None:
    refs = [held.run_no_wait(n) for n in range(2)]
    gates[0].set()
    for ref in as_completed(refs):
        assert ref.result() == 0
        break
    assert refs[1].status() in (RunState.RUNNING, RunState.QUEUED)
    gates[1].set()
    assert refs[1].result() == 1
    until(lambda: not app.engine()._delivery._waits)


def test_what_a_later_attempt_asks_for_first_is_forgotten_as_it_is_given_out(app: Fanwood, double: Any) -> None:
    """A parent of a million that was resumed half-way holds what it had, and of what is new no more than the first."""
    held: list[int] = []

    @app.task(retries=1)
    async def fold(n: int, ctx: Context) -> int:
        first = ctx.attempt_number == 1
        total = sum([value async for value in double.aio_map(range(3 if first else 40))])
        attempt = current_attempt.get()
        assert attempt is not None
        held.append(len(attempt.known or {}))
        if first:
            raise ValueError("half-way")
        return total

    assert fold.run(0) == sum(range(0, 80, 2))
    assert held == [0, 3]
