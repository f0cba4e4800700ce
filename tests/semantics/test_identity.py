"""A child is identified by what it is asked to do: whoever asks again, in whatever order, finds it again."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from fanwood import (
    ChildKeyConflictError,
    Context,
    EmptyModel,
    Fanwood,
    RunState,
    TaskRunError,
)
from tests.semantics.closing import swept


class Executions:
    """How often each thing was done, whatever thread did it."""

    def __init__(self) -> None:
        self.counts: Counter[Any] = Counter()
        self._lock = threading.Lock()

    def note(self, what: Any) -> int:
        with self._lock:
            self.counts[what] += 1
            return self.counts[what]


@pytest.fixture
def done() -> Executions:
    return Executions()


@pytest.fixture
def leaf(app: Fanwood, done: Executions) -> Any:
    @app.task
    async def leaf(input: int) -> str:
        done.note(input)
        return f"{input}#{done.counts[input]}"

    return leaf


def test_children_asked_for_in_another_order_after_a_retry_are_found_and_not_run_again(
    app: Fanwood, leaf: Any, done: Executions
) -> None:
    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> list[str]:
        numbers = list(range(20)) if ctx.retry_count == 0 else [*reversed(range(20))]
        results = await leaf.aio_run_many([leaf.create_bulk_run_item(n) for n in numbers])
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return results

    assert parent.run() == [f"{n}#1" for n in reversed(range(20))]
    assert set(done.counts.values()) == {1}
    assert len(done.counts) == 20


def test_the_same_holds_for_sync_children_and_parents(app: Fanwood, done: Executions) -> None:
    @app.task
    def leaf(input: int) -> str:
        return f"{input}#{done.note(input)}"

    @app.task(retries=1)
    def parent(input: EmptyModel, ctx: Context) -> list[str]:
        numbers = [1, 2, 3] if ctx.retry_count == 0 else [3, 4, 1]
        results = [leaf.run(n) for n in numbers]
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return results

    assert parent.run() == ["3#1", "4#1", "1#1"]
    assert done.counts == {1: 1, 2: 1, 3: 1, 4: 1}


def test_a_gather_whose_order_changes(app: Fanwood, leaf: Any, done: Executions) -> None:
    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> list[str]:
        first, second = [1, 2] if ctx.retry_count == 0 else [2, 1]
        results = await asyncio.gather(leaf.aio_run(first), leaf.aio_run(second))
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return results

    assert parent.run() == ["2#1", "1#1"]


def test_equal_children_are_told_apart(app: Fanwood, done: Executions) -> None:
    @app.task
    async def dice(input: str) -> int:
        return done.note(input)

    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> list[list[int]]:
        bulk = await dice.aio_run_many([dice.create_bulk_run_item("d") for _ in range(3)])
        one = [await dice.aio_run("d"), await dice.aio_run("d")]
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return [sorted(bulk), sorted(one)]

    assert parent.run() == [[1, 2, 3], [4, 5]]
    assert done.counts["d"] == 5


def test_input_written_in_another_order_is_the_same_input(app: Fanwood, done: Executions) -> None:
    @app.task
    async def leaf(input: dict[str, int]) -> int:
        return done.note("leaf")

    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> int:
        result = await leaf.aio_run({"a": 1, "b": 2} if ctx.retry_count == 0 else {"b": 2, "a": 1})
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return result

    assert parent.run() == 1
    assert done.counts["leaf"] == 1


def test_the_same_input_of_another_task_is_another_child(app: Fanwood, done: Executions) -> None:
    @app.task
    async def one(input: int) -> str:
        return "one"

    @app.task
    async def two(input: int) -> str:
        return "two"

    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> str:
        result = await (one if ctx.retry_count == 0 else two).aio_run(1)
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return result

    assert parent.run() == "two"


# --- keys ----------------------------------------------------------------------------------------------------------


def test_the_same_key_twice_is_the_same_child(app: Fanwood, leaf: Any, done: Executions) -> None:
    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> list[Any]:
        first = await leaf.aio_run(1, child_key="k")
        second = await leaf.aio_run(1, child_key="k")
        both = await leaf.aio_run_many([leaf.create_bulk_run_item(1, key="k"), leaf.create_bulk_run_item(1, key="l")])
        refs = await ctx.aio_children()
        return [first, second, *both, len(refs)]

    assert parent.run() == ["1#1", "1#1", "1#1", "1#2", 2]


def test_the_same_new_key_twice_in_one_bulk_is_the_same_child(app: Fanwood, leaf: Any, done: Executions) -> None:
    @app.task
    async def parent() -> list[str]:
        return await leaf.aio_run_many([leaf.create_bulk_run_item(1, key="k") for _ in range(3)])

    assert parent.run() == ["1#1"] * 3
    assert done.counts[1] == 1


def test_a_key_taken_by_another_input_is_an_error_that_shows_both(app: Fanwood, leaf: Any) -> None:
    @app.task
    async def other(input: int) -> None: ...

    @app.task
    async def parent(input: str) -> list[str]:
        await leaf.aio_run(1, child_key="k")
        again = leaf.aio_run(22, child_key="k") if input == "input" else other.aio_run(1, child_key="k")
        try:
            await again
        except ChildKeyConflictError as error:
            return [str(error)]
        return []

    (message,) = parent.run("input")
    assert "leaf with input 1" in message
    assert "22" in message
    (message,) = parent.run("task")
    assert "leaf with input 1" in message
    assert "other" in message


def test_a_key_conflict_within_one_bulk_and_without_waiting(app: Fanwood, leaf: Any) -> None:
    @app.task
    async def parent(input: bool) -> str:
        items = [leaf.create_bulk_run_item(1, key="k"), leaf.create_bulk_run_item(2, key="k")]
        try:
            if input:
                await leaf.aio_run_many(items)
            else:
                await leaf.aio_run_many_no_wait(items)
        except ChildKeyConflictError:
            return "conflict"
        return "a mix-up"

    assert parent.run(True) == "conflict"
    assert parent.run(False) == "conflict"


def test_a_key_finds_its_child_on_a_retry(app: Fanwood, leaf: Any, done: Executions) -> None:
    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> str:
        result = await leaf.aio_run(1, child_key="k")
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return result

    assert parent.run() == "1#1"


def test_a_key_given_twice_at_once_on_a_retry_is_one_child(app: Fanwood, leaf: Any, done: Executions) -> None:
    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> list[str]:
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return await asyncio.gather(*(leaf.aio_run(1, child_key="k") for _ in range(5)))

    assert parent.run() == ["1#1"] * 5
    assert done.counts[1] == 1


def test_keys_of_two_parents_are_apart(app: Fanwood, leaf: Any) -> None:
    @app.task
    async def parent(input: int) -> str:
        return await leaf.aio_run(input, child_key="k")

    assert parent.run_many([parent.create_bulk_run_item(n) for n in (1, 2)]) == ["1#1", "2#1"]


# --- a retry redoes only what failed -------------------------------------------------------------------------------


def test_a_retry_redoes_only_what_failed(app: Fanwood, done: Executions) -> None:
    @app.task
    async def flaky(input: int) -> int:
        if done.note(input) == 1 and input % 3 == 0:
            raise ValueError(f"{input} fails once")
        return input

    @app.task(retries=1)
    async def parent() -> list[int]:
        return await flaky.aio_run_many([flaky.create_bulk_run_item(n) for n in range(9)])

    assert parent.run() == list(range(9))
    assert done.counts == {n: 2 if n % 3 == 0 else 1 for n in range(9)}


def test_a_child_that_is_run_again_has_fresh_retries(app: Fanwood, done: Executions) -> None:
    @app.task(retries=1)
    async def flaky(input: EmptyModel, ctx: Context) -> list[int]:
        if done.note("flaky") < 4:
            raise ValueError("not yet")
        return [ctx.retry_count, ctx.attempt_number]

    @app.task(retries=1)
    async def parent() -> list[int]:
        return await flaky.aio_run()

    assert parent.run() == [1, 4]


def test_the_grandchildren_that_failed_are_redone_too(app: Fanwood, done: Executions) -> None:
    @app.task
    async def leaf(input: int) -> int:
        if done.note(input) == 1 and input == 2:
            raise ValueError("fails once")
        return input

    @app.task
    async def middle(input: EmptyModel) -> int:
        done.note("middle")
        return sum(await leaf.aio_run_many([leaf.create_bulk_run_item(n) for n in (1, 2, 3)]))

    @app.task(retries=1)
    async def top() -> int:
        return await middle.aio_run()

    assert top.run() == 6
    assert done.counts == {1: 1, 2: 2, 3: 1, "middle": 2}


def test_a_replay_redoes_only_what_failed(app: Fanwood, done: Executions) -> None:
    @app.task
    async def flaky(input: int) -> int:
        if done.note(input) == 1 and input == 1:
            raise ValueError("fails once")
        return input

    @app.task
    async def parent() -> list[int]:
        return await flaky.aio_run_many([flaky.create_bulk_run_item(n) for n in range(3)])

    with pytest.raises(TaskRunError):
        parent.run()
    (run,) = app.runs.list(task_name="parent")
    for child in app.runs.children(run.id):
        if child.status is not RunState.FAILED:
            assert app.runs.get_result(child.id, timeout=60) in (0, 2)
    assert app.runs.replay(run.id)
    assert app.runs.get_result(run.id, timeout=60) == [0, 1, 2]
    assert done.counts == {0: 1, 1: 2, 2: 1}
    assert app.runs.get(run.id).retry_count == 0


def test_within_one_attempt_a_failed_child_stays_failed(app: Fanwood, done: Executions) -> None:
    @app.task
    async def broken(input: int) -> None:
        done.note(input)
        raise ValueError("always")

    @app.task
    async def parent() -> int:
        failures = 0
        for _ in range(3):
            try:
                await broken.aio_run(1, child_key="k")
            except TaskRunError:
                failures += 1
        return failures

    assert parent.run() == 3
    assert done.counts[1] == 1


def test_children_that_the_last_attempt_never_asked_for_are_cancelled_when_the_parent_ends(
    app: Fanwood, done: Executions
) -> None:
    gate = asyncio.Event()

    @app.task
    async def endless(input: str) -> None:
        await gate.wait()

    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> str:
        if ctx.retry_count == 0:
            await endless.aio_run_no_wait("old")
            await endless.aio_run_no_wait("kept", on_parent_end="continue")
            await endless.aio_run_no_wait("both")
            raise ValueError("once more")
        await endless.aio_run_no_wait("both")
        await endless.aio_run_no_wait("new")
        return ctx.task_run_id

    parent_id = parent.run()
    swept(app)
    states = {app.runs.get(c.id).input: c.status for c in app.runs.children(parent_id)}
    assert states["old"] is RunState.CANCELLED
    assert not any(states[name].is_terminal for name in ("kept", "both", "new"))


@pytest.mark.parametrize("how", ["one by one", "at once", "no wait"])
def test_nothing_is_written_for_a_child_that_has_ended(
    app: Fanwood, done: Executions, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It is answered from what the attempt has read. What is to run again, is unfinished, or said much is asked for."""
    store, asked = app.engine().store, list[str]()
    commit = store.commit

    async def noting(worker: int, batch: Any) -> Any:
        asked.extend(attach.kind.task for attach in batch.attaches)
        return await commit(worker, batch)

    @app.task
    async def good(n: int) -> int:
        done.note(n)
        return n

    @app.task
    async def long(n: int) -> str:
        return "x" * 20_000

    @app.task
    async def bad(n: int) -> None:
        done.note("bad")
        raise ValueError("bad")

    @app.task(retries=1)
    async def parent(input: dict, ctx: Context) -> list[Any]:
        async def ask(task: Any) -> list[Any]:
            if how == "one by one":
                return [await task.aio_run(n % 4, child_key=f"{task.name}{n}" if n > 3 else None) for n in range(6)]
            options: list[Any] = [{"child_key": f"{task.name}{n}"} if n > 3 else {} for n in range(6)]
            items = [task.create_bulk_run_item(n % 4, **options[n]) for n in range(6)]
            if how == "at once":
                return await task.aio_run_many(items)
            return [await ref for ref in await task.aio_run_many_no_wait(items)]

        found = [await ask(good), len(await ask(long))]
        with pytest.raises(TaskRunError, match="bad"):
            await bad.aio_run(1)
        if ctx.retry_count == 0:
            monkeypatch.setattr(store, "commit", noting)
            raise ValueError("once more")
        with pytest.raises(ChildKeyConflictError):
            await good.aio_run(7, child_key="good4")
        return found

    assert parent.run({}) == [[0, 1, 2, 3, 0, 1], 6]
    assert sorted(asked) == ["bad", "good", *["long"] * 6]
    assert done.counts == {0: 2, 1: 2, 2: 1, 3: 1, "bad": 2}
