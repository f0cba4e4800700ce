"""A key that is given again stands for the child that has it, also when a parent has given so many since that it keeps
them no more."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from fanwood import ChildKeyConflictError, Context, EmptyModel, Fanwood, TriggerWorkflowOptions, with_context
from fanwood.sdk.running import keys as keys_module
from fanwood.sdk.running.current import current_attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = 16
MANY = 20 * KEPT


@pytest.fixture(autouse=True)
def few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "KEPT", KEPT)


@pytest.fixture
def done() -> Counter[int]:
    return Counter()


@pytest.fixture
def leaf(app: Fanwood, done: Counter[int]) -> Any:
    lock = threading.Lock()

    @app.task
    async def leaf(input: int) -> int:
        with lock:
            done[input] += 1
        return input

    return leaf


def keyed(leaf: Any, number: int, given: int | None = None) -> Any:
    options = TriggerWorkflowOptions(child_key=f"key {number}")
    return leaf.create_bulk_run_item(number if given is None else given, options=options)


def kept() -> int:
    attempt = current_attempt.get()
    assert attempt is not None
    assert attempt.known is not None
    return len(attempt.known)


async def test_of_many_keys_few_are_kept_and_each_is_found_again(app: Fanwood, leaf: Any, done: Counter[int]) -> None:
    numbers = range(MANY)

    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> tuple[int, list[int], int]:
        total = 0
        async for value in leaf.aio_map((keyed(leaf, n) for n in numbers), window=KEPT):
            total += value
        most = kept()
        again = await leaf.aio_run_many([keyed(leaf, n) for n in (0, MANY - 1, 1, MANY, 0)])
        again += [value async for value in leaf.aio_map(keyed(leaf, n) for n in numbers)]
        with pytest.raises(ChildKeyConflictError, match="leaf with input -3"):
            await leaf.aio_run_many([keyed(leaf, 3, given=-3)])
        assert await leaf.aio_run(5, options=TriggerWorkflowOptions(child_key="key 5")) == 5
        return total, again, most

    total, again, most = await parent.aio_run(EmptyModel())

    assert total == sum(numbers)
    assert again == [0, MANY - 1, 1, MANY, 0, *numbers]
    assert done == Counter(range(MANY + 1))
    assert most <= 3 * KEPT + 2


async def test_a_group_finds_keys_that_were_given_before_it_and_in_it(
    app: Fanwood, leaf: Any, done: Counter[int]
) -> None:
    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> list[int]:
        async for _ in leaf.aio_map((keyed(leaf, n) for n in range(MANY)), window=KEPT):
            pass
        found: list[int] = []
        for _ in range(2):
            async with ctx.group() as group:
                refs = [group.spawn(leaf, n, options=TriggerWorkflowOptions(child_key=f"key {n}")) for n in (0, 1)]
                async for _ in leaf.aio_map((keyed(leaf, n) for n in range(MANY, 2 * MANY)), window=KEPT):
                    pass
                refs.append(group.spawn(leaf, MANY, options=TriggerWorkflowOptions(child_key=f"key {MANY}")))
            found += [await ref for ref in refs]
        return found

    assert await parent.aio_run(EmptyModel()) == 2 * [0, 1, MANY]
    assert done == Counter(range(2 * MANY))


def test_threads_of_a_task_give_the_same_keys_at_once(app: Fanwood, leaf: Any, done: Counter[int]) -> None:
    @app.task
    def parent(input: EmptyModel, ctx: Context) -> int:
        totals: list[int] = []

        def ask(start: int) -> None:
            numbers: Iterator[int] = ((start + n) % MANY for n in range(MANY))
            totals.append(sum(leaf.map((keyed(leaf, n) for n in numbers), window=KEPT)))

        threads = [threading.Thread(target=with_context(ask), args=(start,)) for start in (0, MANY // 3, MANY // 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(totals)

    assert parent.run(EmptyModel()) == 3 * sum(range(MANY))
    assert done == Counter(range(MANY))


async def test_a_parent_that_is_tried_again_keeps_those_of_before_and_few_of_its_own(
    app: Fanwood, leaf: Any, done: Counter[int]
) -> None:
    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> int:
        first = ctx.retry_count == 0
        total, most = 0, MANY // 2 if first else MANY
        async for value in leaf.aio_map((keyed(leaf, n) for n in range(most)), window=KEPT):
            total += value
        if first:
            raise ValueError("once more")
        async for value in leaf.aio_map((keyed(leaf, n) for n in range(MANY // 2, MANY)), window=KEPT):
            total -= value
        return total

    assert await parent.aio_run(EmptyModel()) == sum(range(MANY // 2))
    assert done == Counter(range(MANY))
