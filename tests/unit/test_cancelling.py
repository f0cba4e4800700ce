"""When a call that cancels may return."""

from __future__ import annotations

from typing import Any

import pytest

from fanwood.errors import StoreBusyError
from fanwood.model.records import Swept
from fanwood.store.cancelling import CROSSWISE, cancel, cancel_all

ONE, TWO = b"1" * 16, b"2" * 16


class Scene:
    """A store whose workers hear of each call at the third look, and what was asked of it."""

    def __init__(self, *, busy: int = 0) -> None:
        self.asked: list[str] = []
        self.unheard = {ONE: 2, TWO: 2}
        self.busy = busy
        self.attempts: list[int | None] = []

    async def cancel(self, run_id: bytes, _: str, attempt: int | None) -> bool:
        if self.busy:
            self.busy -= 1
            raise StoreBusyError("others commit there")
        self.asked.append(f"cancel {run_id[:1].decode()}")
        self.attempts.append(attempt)
        return True

    async def is_heard(self, *ids: bytes) -> bool:
        for run_id in ids:
            self.asked.append(f"heard {run_id[:1].decode()}")
            self.unheard[run_id] -= 1
        return all(self.unheard[run_id] < 0 for run_id in ids)

    async def sweep(self, run_id: bytes) -> Swept:
        self.asked.append(f"sweep {run_id[:1].decode()}")
        return Swept(3, more=False)


async def test_it_returns_when_all_workers_have_heard() -> None:
    """And first they are told of all, then waited for, and then what is below is ended."""
    scene = Scene()
    store: Any = scene
    assert await cancel_all(store, [ONE, TWO], "no more") == 2 + 2 * 3
    heard = ["heard 1", "heard 2"] * 3
    assert scene.asked == ["cancel 1", "cancel 2", *heard, "sweep 1", "sweep 2"]


@pytest.mark.parametrize("attempt", [None, 3])
async def test_whose_wish_it_is_goes_with_it_however_often_it_is_tried(attempt: int | None) -> None:
    scene = Scene(busy=CROSSWISE - 1)
    store: Any = scene
    await cancel(store, ONE, "no more", attempt)
    assert scene.attempts == [attempt]


async def test_a_store_that_stays_busy_is_told_of() -> None:
    store: Any = Scene(busy=CROSSWISE)
    with pytest.raises(StoreBusyError):
        await cancel(store, ONE, "no more")
