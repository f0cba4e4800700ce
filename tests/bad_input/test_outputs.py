"""Outputs that can't travel: that run fails, naming the task and the place in the value; the worker goes on."""

import asyncio
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from fanwood import Fanwood
from fanwood.errors import TaskRunError


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class Liar:
    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise RuntimeError("no class")


class Exits:
    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise SystemExit(3)


def deep(levels: int = 10_000) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {"items": []}
    value["items"].append(value)
    return value


def coroutine() -> Any:
    async def forgotten() -> None:
        pass

    return forgotten()


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "lone surrogate": (lambda: {"a": ["\ud800"]}, r"output\.a\[0\]: the text has a lone surrogate \(at 0\)"),
    "NaN": (lambda: {"a": {"b": float("nan")}}, r"output\.a\.b: nan has no JSON form; use None or text"),
    "infinity": (lambda: [1.0, float("-inf")], r"output\[1\]: -inf has no JSON form"),
    "10,000 deep": (deep, r"nested deeper than 200 levels"),
    "cyclic": (cyclic, r"output\.items\[0\]: it refers to itself"),
    "no repr": (lambda: {"a": Hostile()}, r"output\.a: an object of type \S*Hostile has no JSON form"),
    "no class": (lambda: {"a": Liar()}, r"output.*"),
    "bytes": (lambda: {"a": b"x"}, r"output\.a: bytes have no JSON form"),
    "set": (lambda: {"a": {1, 2}}, r"output\.a: a set would come back as a list"),
    "key": (lambda: {1: 2}, r"output\[1\]: the key is of type int and would come back as text"),
    "coroutine": (coroutine, r"output: an object of type coroutine has no JSON form"),
    "generator": (lambda: (n for n in range(3)), r"output: an object of type generator has no JSON form"),
    "exception": (lambda: ValueError("x"), r"output: an object of type ValueError has no JSON form"),
}


@pytest.mark.parametrize("colour", ["async", "sync"])
@pytest.mark.parametrize("case", REFUSED)
def test_refused(app: Fanwood, case: str, colour: str) -> None:
    make, message = REFUSED[case]

    def sync_task() -> Any:
        return make()

    async def async_task() -> Any:
        return make()

    task = app.task(name="produce")(async_task if colour == "async" else sync_task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the forgotten coroutine was never awaited
        with pytest.raises(
            TaskRunError, match=r"produce failed: PayloadEncodingError: the output of produce"
        ) as caught:
            task.run(timeout=60)
    assert caught.value.exc_type == "PayloadEncodingError"
    assert re.search(message, caught.value.message)


def test_an_output_whose_class_exits(app: Fanwood) -> None:
    @app.task
    async def produce() -> Any:
        return {"a": Exits()}

    with pytest.raises(TaskRunError, match=r"produce failed: "):
        produce.run(timeout=60)


def test_nul_travels(app: Fanwood) -> None:
    @app.task
    async def echo(input: dict) -> Any:
        return input

    value = {"a\0b": ["\0", "\x1f\x7f", "\U0001f333", ""]}
    assert echo.run(value, timeout=60) == value


def test_refused_outputs_are_not_tried_again(app: Fanwood) -> None:
    tries = []

    @app.task(retries=5)
    async def produce() -> Any:
        tries.append(1)
        return float("nan")

    with pytest.raises(TaskRunError, match="can't be encoded"):
        produce.run(timeout=60)
    assert tries == [1]


def test_one_refused_output_among_many(app: Fanwood) -> None:
    @app.task
    async def produce(input: dict) -> Any:
        return float("nan") if input["n"] == 5 else input["n"]

    async def main() -> list[Any]:
        items = [produce.create_bulk_run_item({"n": n}) for n in range(50)]
        return await produce.aio_run_many(items, return_exceptions=True, timeout=60)

    results = asyncio.run(main())
    assert isinstance(results.pop(5), TaskRunError)
    assert results == [n for n in range(50) if n != 5]


def test_too_large(make_app: Callable[..., Fanwood]) -> None:
    app = make_app(max_payload_bytes=1000)

    @app.task
    async def produce(input: dict) -> str:
        return "x" * input["n"]

    assert len(produce.run({"n": 998}, timeout=60)) == 998
    with pytest.raises(TaskRunError) as caught:
        produce.run({"n": 999}, timeout=60)
    assert str(caught.value).startswith(
        "produce failed: PayloadTooLargeError: the output of produce is 1,001 bytes of JSON, over the limit of 1,000. "
        "Store it elsewhere and pass a reference, or raise max_payload_bytes (FANWOOD_MAX_PAYLOAD_BYTES). (run "
    )
