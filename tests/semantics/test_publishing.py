"""What runs say of themselves."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from fanwood import Context, Fanwood
from fanwood.errors import PayloadError, RunNotFoundError, TaskRunError, UsageError


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_who_asks_is_told_what_was_said_last(app: Fanwood, colour: str) -> None:
    said, go_on = threading.Event(), threading.Event()

    @app.task
    async def aio_talks(input: dict, ctx: Context) -> None:
        await ctx.aio_publish("step", {"n": 1})
        await ctx.aio_publish("step", {"n": 2})
        said.set()
        await ctx.aio_receive("go on")

    @app.task
    def talks(input: dict, ctx: Context) -> None:
        ctx.publish("step", {"n": 1})
        ctx.publish("step", {"n": 2})
        said.set()
        go_on.wait(60)

    ref = (aio_talks if colour == "async" else talks).run_no_wait({})
    said.wait(60)
    assert app.runs.get_value(ref.id, "step") == {"n": 2}
    assert app.runs.get_value(ref.id, "nothing") is None
    go_on.set()
    if colour == "async":
        app.runs.send(ref.id, "go on")
    ref.result(60)
    assert app.runs.get_value(ref.id, "step") == {"n": 2}
    with pytest.raises(RunNotFoundError):
        app.runs.get_value("0" * 32, "step")


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [("", 1, UsageError), ("k", math.nan, PayloadError), ("k", "x" * 5_000_000, PayloadError)],
)
def test_what_can_not_be_said(app: Fanwood, key: str, value: Any, error: type[Exception]) -> None:
    @app.task
    def talks(input: dict, ctx: Context) -> None:
        with pytest.raises(error):
            ctx.publish(key, value)
        raise ValueError("as expected")

    with pytest.raises(TaskRunError, match="as expected"):
        talks.run({})
