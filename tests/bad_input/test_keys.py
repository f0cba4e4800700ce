"""What people give as an idempotency key, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fanwood import Fanwood, TriggerWorkflowOptions, UsageError


@pytest.fixture
def task(app: Fanwood) -> Any:
    @app.task
    async def task(input: int) -> int:
        raise AssertionError("nothing of this is to begin")

    return task


WAYS: list[Callable[[Any, Any], Any]] = [
    lambda task, key: task.run(1, idempotency_key=key),
    lambda task, key: task.run_no_wait(1, idempotency_key=key),
    lambda task, key: task.create_bulk_run_item(1, idempotency_key=key),
    lambda task, key: task.run(1, TriggerWorkflowOptions(idempotency_key=key)),
]
BAD: list[tuple[Any, str]] = [
    (7, "must be text, and is 7"),
    (b"key", "must be text, and is b'key'"),
    (False, "must be text, and is False"),
    (["a"], "must be text, and is ['a']"),
    ("", "must not be empty: leave it out"),
    ("x" * 501, "must have at most 500 characters, and has 501"),
    ("a\0b", "must be text that can be stored"),
    ("a\ud800b", "must be text that can be stored"),
]


@pytest.mark.parametrize("way", WAYS, ids=["run", "run_no_wait", "item", "options"])
@pytest.mark.parametrize(("key", "said"), BAD, ids=[repr(key)[:12] for key, _ in BAD])
def test_keys_that_cannot_be(task: Any, way: Callable[[Any, Any], Any], key: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        way(task, key)
    assert str(caught.value).startswith(f"idempotency_key {said}")


def test_what_needs_a_key_is_not_told_to_leave_it_out(app: Fanwood) -> None:
    with pytest.raises(UsageError, match=r"^key must not be empty: an event needs one$"):
        app.events.push("", {})


async def test_the_same_in_coroutines(task: Any) -> None:
    for call in (task.aio_run, task.aio_run_no_wait):
        with pytest.raises(UsageError, match="must not be empty"):
            await call(1, idempotency_key="")


@pytest.mark.parametrize("key", ["x" * 500, "ключ 🔑", " ", "null", "a/b:c"])
def test_keys_that_can_be(app: Fanwood, key: str) -> None:
    @app.task
    async def good(input: int) -> int:
        return input

    assert [good.run(1, idempotency_key=key) for _ in range(2)] == [1, 1]
    assert app.runs.list()[0].child_key == key
    assert len(app.runs.list()) == 1


@pytest.mark.parametrize("name", ["child_key", "key"])
def test_both_kinds_of_key(task: Any, name: str) -> None:
    child: dict[str, Any] = {name: "a"}
    with pytest.raises(UsageError, match="child_key 'a' and idempotency_key 'b' were both given"):
        task.create_bulk_run_item(1, **child, idempotency_key="b")
    with pytest.raises(UsageError, match="were both given"):
        task.run(1, TriggerWorkflowOptions(**child), idempotency_key="b")
