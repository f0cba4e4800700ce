"""What tools for tests are given that they can't do anything with: an error of ours, in short."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fanwood import FanwoodError
from fanwood.testing import TestApp, effects, explore, faults, on_memory, travel, tree
from tests.testing import shop

WRONG: list[Any] = [
    *(math.nan, math.inf, -1.5, 2**63, 10**400, "", "x" * 1_000_000, "\ud800", [], {}, object(), timedelta.max, b"x"),
    ...,
]


def inside(block: Any) -> None:
    with block:
        shop.double.run(1)


def explored(**options: Any) -> None:
    explore(shop.double, 1, **options)


CALLS: dict[str, Callable[[TestApp, Any], object]] = {
    "travel": lambda _app, value: travel(value),
    "travel(days=)": lambda _app, value: travel(days=value),
    "travel(fortnights=)": lambda _app, value: travel(fortnights=value),
    "tree": lambda _app, value: tree(value),
    "app.tree": lambda app, value: app.tree(value),
    "stub": lambda app, value: app.stub(value, lambda: 1),
    "stub(function)": lambda app, value: app.stub(shop.double, value),
    "stub(raises=)": lambda app, value: app.stub(shop.double, raises=value),
    "lose_worker(commit=)": lambda _app, value: inside(faults.lose_worker(commit=value)),
    "lose_worker(before=)": lambda _app, value: inside(faults.lose_worker(before=value)),
    "lose_answer(times=)": lambda _app, value: inside(faults.lose_answer(times=value)),
    "lose_answer(before=)": lambda _app, value: inside(faults.lose_answer(before=value)),
    "explore": lambda _app, value: explore(value),
    "explore(at_most=)": lambda _app, value: explored(at_most=value),
    "explore(point=)": lambda _app, value: explored(point=value),
    "explore(setup=)": lambda _app, value: explored(setup=value),
    "explore(patience=)": lambda _app, value: explored(patience=value),
    "on_memory(patience=)": lambda _app, value: inside(on_memory(patience=value)),
    "record(exactly_once=)": lambda _app, value: effects.record("it", exactly_once=value),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_they_can_do_nothing_with(fanwood_app: TestApp, name: str):
    for value in WRONG:
        with pytest.raises(FanwoodError) as caught:
            CALLS[name](fanwood_app, value)
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("when", [datetime.min, datetime.min.replace(tzinfo=UTC)])
def test_times_that_nobody_can_travel_to(fanwood_app: TestApp, when: datetime):
    with pytest.raises(FanwoodError, match=r"travel\(\)"):
        travel(when)


@pytest.mark.parametrize(
    "value", [value for value in WRONG if not isinstance(value, (float, str))] + ["\ud800", "a" * 20_000]
)
def test_what_is_no_name_of_an_effect(fanwood_app: TestApp, value: Any):
    with pytest.raises(FanwoodError, match="what must"):
        effects.record(value)


def test_a_point_that_there_is_not(fanwood_app: TestApp):
    with pytest.raises(FanwoodError, match="there is no point 900"):
        explore(shop.double, 1, point=900)


@pytest.mark.parametrize("by", [math.nan, math.inf, 2**63, 10**400, "1h", timedelta.max, timedelta.min, b"x"])
def test_what_no_clock_is_set_by(fanwood_app: TestApp, by: Any):
    with pytest.raises(FanwoodError, match="jump_clock"), faults.jump_clock(by):
        pass
