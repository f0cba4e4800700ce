"""When a call that cancels may return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fanwood.errors import StoreBusyError
from fanwood.model.records import Swept
from fanwood.store.cancelling import CROSSWISE, cancel, cancel_all
from fanwood.store.many import MANY, Came, Deed

if TYPE_CHECKING:
    from collections.abc import Sequence

ONE, TWO, GONE = b"1" * 16, b"2" * 16, b"3" * 16


class Scene:
    """A store whose workers hear of each call at the third look, and what was asked of it."""

    def __init__(self, *, busy: int = 0) -> None:
        self.asked: list[str] = []
        self.unheard = {ONE: 2, TWO: 2}
        self.busy = busy
        self.attempts: list[int | None] = []
        self.pages: list[int] = []

    async def cancel(self, run_id: bytes, _: str, attempt: int | None) -> bool:
        if self.busy:
            self.busy -= 1
            raise StoreBusyError("others commit there")
        self.asked.append(f"cancel {run_id[:1].decode(errors='replace')}")
        self.attempts.append(attempt)
        return True

    async def to_many(self, deed: Deed, ids: Sequence[bytes]) -> list[Came]:
        if self.busy:
            self.busy -= 1
            raise StoreBusyError("others commit there")
        self.pages.append(len(ids))
        self.asked.append(f"{deed.what} {b''.join(run_id[:1] for run_id in ids).decode(errors='replace')}")
        return [Came.NOT if run_id == GONE else Came.DONE for run_id in ids]

    async def is_heard(self, *ids: bytes) -> bool:
        for run_id in ids:
            self.asked.append(f"heard {run_id[:1].decode(errors='replace')}")
            self.unheard[run_id] -= 1
        return all(self.unheard[run_id] < 0 for run_id in ids)

    async def sweep(self, run_id: bytes) -> Swept:
        self.asked.append(f"sweep {run_id[:1].decode(errors='replace')}")
        return Swept(3, more=False)


async def test_it_returns_when_all_workers_have_heard() -> None:
    """And first they are told of all, then waited for, and then what is below is ended."""
    scene = Scene()
    store: Any = scene
    assert await cancel_all(store, [ONE, TWO], "no more") == 2 + 2 * 3
    heard = ["heard 1", "heard 2"] * 3
    assert scene.asked == ["cancel 12", *heard, "sweep 1", "sweep 2"]


async def test_many_are_recorded_a_hundred_at_a_time() -> None:
    """One by one 2,000 took some seconds, for which a stream's first failure was not told."""
    scene = Scene(busy=CROSSWISE - 1)
    store: Any = scene
    ids = [number.to_bytes(16, "big") for number in range(1, 2 * MANY + 2)]
    scene.unheard = dict.fromkeys([*ids, GONE], -1)
    assert await cancel_all(store, [*ids, GONE], "no more") >= len(ids)
    assert scene.pages == [MANY, MANY, 2]


async def test_an_attempt_cancels_no_others() -> None:
    store: Any = Scene()
    with pytest.raises(ValueError, match="cancels itself"):
        await cancel_all(store, [ONE, TWO], "no more", 1)


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
