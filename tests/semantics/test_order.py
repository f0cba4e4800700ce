"""What is older in the queue, where clients' clocks differ."""

from __future__ import annotations

import pytest

from fanwood import SystemIds
from fanwood.ids import CLOSE, shifted
from tests.conftest import MakeApp

HOUR = 3_600_000


class Off(SystemIds):
    """Of a machine whose wall clock is off."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by

    def wall(self) -> int:
        return super().wall() + self.by

    def new_id(self) -> bytes:
        return shifted(super().new_id(), self.by)


def made_at(run_id: str) -> int:
    return int(run_id.replace("-", "")[:12], 16)


@pytest.mark.parametrize("by", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_the_time_in_an_id_is_the_stores_whatever_a_clients_clock_says(make_app: MakeApp, by: int) -> None:
    """By which the queue goes: roots, and children of those that are executed there."""
    app = make_app(ids=Off(by))
    children: list[str] = []

    @app.task
    async def leaf(input: int) -> int:
        return input

    @app.task
    async def task(input: dict) -> int:
        children.append((await leaf.aio_run_no_wait(1)).id)
        return 1

    before = app.engine().store.now() // 1000
    ref = task.run_no_wait({})
    assert ref.result(timeout=60) == 1
    after = app.engine().store.now() // 1000
    for run_id in (ref.id, *children):
        assert before - 2 * CLOSE < made_at(run_id) < after + 2 * CLOSE


def test_small_differences_and_ids_between_two_looks_keep_their_order() -> None:
    ids = Off(0)
    made = [ids.new_id() for _ in range(3)]
    for off in (300, -300, 900):
        ids.follow((ids.wall() + off) * 1000)
        made.append(ids.new_id())
    assert made == sorted(made)
    ids.follow((ids.wall() + HOUR) * 1000)
    assert abs(int.from_bytes(ids.new_id()[:6], "big") - ids.wall() - HOUR) < 1000
    ids.follow(ids.wall() * 1000)
    assert abs(int.from_bytes(ids.new_id()[:6], "big") - ids.wall()) < 1000
