"""What a caller gives: names, inputs, metadata, calls at a wrong place. Each is refused at once, in a sentence."""

import asyncio
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from fanwood import Context, Fanwood, RunState
from fanwood.errors import (
    BlockingCallError,
    DuplicateTaskError,
    EngineClosedError,
    FanwoodError,
    InputValidationError,
    PayloadEncodingError,
    PayloadTooLargeError,
    TaskRunError,
    UnknownTaskError,
    UsageError,
)
from tests.bad_input.test_outputs import Hostile, cyclic, deep


@dataclass
class Order:
    customer: str
    amount: int
    lines: list[int]


def test_unknown_task(app: Fanwood) -> None:
    @app.task
    def resize_image() -> None: ...

    @app.task
    def send_mail() -> None: ...

    with pytest.raises(UnknownTaskError) as caught:
        app.find("resize_imgae")
    assert str(caught.value) == (
        "There is no task named 'resize_imgae'. Did you mean resize_image? Known tasks: resize_image, send_mail"
    )


def test_all_problems_at_once(app: Fanwood) -> None:
    @app.task(input_validator=Order)
    def take(input: Order) -> None: ...

    with pytest.raises(InputValidationError) as caught:
        take.run({"customer": 5, "lines": [1, "two"]})
    assert str(caught.value).splitlines() == [
        "the input of take: 3 problems",
        "  customer: Expected `str`, got `int`",
        "  amount: is required",
        "  lines[1]: Expected `int`, got `str`",
    ]
    assert app.runs.list() == []


REFUSED: dict[str, tuple[Any, str]] = {
    "lone surrogate": ({"a": "\ud800"}, r"input\.a: the text has a lone surrogate"),
    "NaN": ({"a": math.nan}, r"input\.a: nan has no JSON form"),
    "10,000 deep": ({"a": deep()}, r"nested deeper than 200 levels"),
    "cyclic": (cyclic(), r"input\.items\[0\]\S*: it refers to itself"),
    "no repr": ({"a": Hostile()}, r"input\.a: an object of type \S*Hostile has no JSON form"),
}


@pytest.mark.parametrize("kind", [int, int | None, list[int], str])
def test_an_input_that_was_left_out(app: Fanwood, kind: Any) -> None:
    def task(input): ...

    task.__annotations__ = {"input": kind}
    with pytest.raises(InputValidationError, match="as if none was given: it needs one"):
        app.task(task).run()


@pytest.mark.parametrize("case", REFUSED)
def test_inputs_that_cannot_travel(app: Fanwood, case: str) -> None:
    @app.task
    def take(input: dict) -> None: ...

    value, message = REFUSED[case]
    with pytest.raises(PayloadEncodingError, match=r"^the input of take can't be encoded: ") as caught:
        take.run(value)
    caught.match(message)
    assert app.runs.list() == []


@pytest.mark.parametrize("case", REFUSED)
def test_children_whose_input_cannot_travel(app: Fanwood, case: str) -> None:
    """The parent gets the error at its call, and may go on."""

    @app.task
    async def take(input: dict) -> None: ...

    @app.task
    async def parent() -> str:
        try:
            await take.aio_run(REFUSED[case][0])
        except PayloadEncodingError as error:
            return str(error)
        return "it was taken"

    assert parent.run(timeout=60).startswith("the input of take can't be encoded: input")


def test_a_bad_item_in_a_bulk_fails_the_parent_not_the_others(app: Fanwood) -> None:
    @app.task
    async def take(input: dict) -> int:
        return 1

    @app.task
    async def parent() -> int:
        items = (take.create_bulk_run_item({"n": n if n != 700 else math.nan}) for n in range(1000))
        return sum(await take.aio_run_many(items))

    with pytest.raises(TaskRunError, match=r"parent failed: PayloadEncodingError: the input of take can't be encoded"):
        parent.run(timeout=60)


def test_too_large(make_app: Callable[..., Fanwood]) -> None:
    app = make_app(max_payload_bytes=1000)

    @app.task
    def take(input: dict) -> None: ...

    with pytest.raises(PayloadTooLargeError) as caught:
        take.run({"text": "x" * 1000})
    assert str(caught.value) == (
        "the input of take is 1,011 bytes of JSON, over the limit of 1,000. Store it elsewhere and pass a reference, "
        "or raise max_payload_bytes (FANWOOD_MAX_PAYLOAD_BYTES)."
    )


@pytest.mark.parametrize("metadata", [{"a": object()}, {"a": {1, 2}.__iter__()}, {"a": deep()}, cyclic(), 5])
def test_metadata_that_is_not_json(app: Fanwood, metadata: Any) -> None:
    @app.task
    def take(input: dict) -> None: ...

    with pytest.raises(UsageError, match=r"^additional_metadata must be (JSON|a dict)"):
        take.run({}, additional_metadata=metadata)
    assert app.runs.list() == []


def test_default_metadata_that_is_not_json(app: Fanwood) -> None:
    with pytest.raises(FanwoodError, match=r"default_additional_metadata"):

        @app.task(default_additional_metadata={"a": object()})
        def take(input: dict) -> None: ...


def test_two_tasks_with_one_name(app: Fanwood) -> None:
    @app.task(name="twice")
    def one() -> None: ...

    with pytest.raises(DuplicateTaskError) as caught:

        @app.task(name="twice")
        def two() -> None: ...

    message = str(caught.value)
    assert "there is a task named twice already (" in message
    assert message.count("test_inputs.py:") == 2
    assert message.endswith("Give one of them another name: name=...")


def test_a_blocking_call_inside_an_async_task(app: Fanwood) -> None:
    @app.task
    async def child() -> int:
        return 1

    @app.task
    async def parent() -> int:
        return child.run()

    with pytest.raises(TaskRunError) as caught:
        parent.run(timeout=60)
    assert caught.value.exc_type == "BlockingCallError"
    assert caught.value.message == (
        "child.run() blocks, and an event loop runs on this thread: it, and all tasks on it, would freeze. "
        "Use `await child.aio_run(...)` here."
    )


def test_blocking_calls_on_a_loop(app: Fanwood) -> None:
    @app.task
    async def task() -> int:
        return 1

    async def main() -> None:
        ref = await task.aio_run_no_wait()
        item = task.create_bulk_run_item()
        for call in (task.run, task.run_no_wait, lambda: task.run_many([item]), ref.result, ref.status, ref.cancel):
            with pytest.raises(BlockingCallError, match=r"blocks, and an event loop runs on this thread"):
                call()
        assert await ref == 1

    asyncio.run(main())


def test_a_closed_app(app: Fanwood) -> None:
    @app.task
    def task() -> int:
        return 1

    ref = task.run_no_wait()
    app.close()
    assert ref.result(timeout=60) == 1  # it is opened again
    app.close()
    assert (task.run(), len(app.runs.list())) == (1, 2)


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_task_whose_app_is_closed_under_it(make_app: Callable[..., Fanwood], colour: str) -> None:
    """Its own call says so, the run is handed back, and another process would go on with it."""
    app = make_app()
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    raised: list[BaseException] = []

    @app.task
    async def child() -> int:
        return 1

    def sync_parent(ctx: Context) -> None:
        begun.set()
        go_on.wait(60)
        try:
            child.run()
        except BaseException as error:
            raised.append(error)
            raise
        finally:
            ended.set()

    async def async_parent() -> None:
        begun.set()
        try:
            await asyncio.sleep(10)
        except BaseException as error:
            raised.append(error)
            raise
        finally:
            ended.set()

    def sync_body() -> None:
        sync_parent(None)  # pyright: ignore[reportArgumentType]

    ref = app.task(name="parent")(async_parent if colour == "async" else sync_body).run_no_wait()
    assert begun.wait(60)
    app.close()
    go_on.set()
    assert ended.wait(60)
    assert type(raised[0]).__name__ in {"CancelledError", "RunInterrupted", "EngineClosedError"}
    assert ref.status() in {RunState.QUEUED, RunState.RUNNING}  # under whom it is opened again


def test_a_waiter_whose_app_is_closed(make_app: Callable[..., Fanwood]) -> None:
    app = make_app(local_worker=False)

    @app.task
    def task() -> int:
        return 1

    ref = task.run_no_wait()
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            ref.result(timeout=60)
        except BaseException as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    while not app.engine()._delivery._waits:
        pass
    app.close()
    waiter.join(60)
    assert [type(error) for error in raised] == [EngineClosedError]
