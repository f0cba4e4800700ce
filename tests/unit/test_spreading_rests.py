"""Who ends the waits of an event lets all others commit between two pages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from fanwood.model.matching import Event
from fanwood.store import spreading
from fanwood.store.outside import Asking
from fanwood.store.spreading import LEAST_REST, PAGE, REST, REST_OF_SERVERS, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.store.store import Store


class Crowd:
    """A store in which an event ends so many pages of waits, and in two pages expressions decide."""

    def __init__(self, *, embedded: bool, pages: int, page: float) -> None:
        self.embedded = embedded
        self.done = list[str]()
        self.now = 0.0
        self._left = pages
        self._page = page

    def _work(self, what: str) -> None:
        self.now += self._page
        self.done.append(what)

    async def spread(self, _: Event) -> bool:
        self._work("page")
        self._left -= 1
        return self._left > 0

    async def asking(self, _: Event, after: bytes, limit: int) -> list[Asking]:
        assert limit == PAGE
        count = {b"": PAGE, b"%d" % (PAGE - 1): 1}.get(after, 0)
        return [Asking(b"%d" % n, b"%16d" % n, "false") for n in range(count)]

    async def fulfil(self, _: Event, ids: Sequence[bytes], spoilt: Sequence[bytes] = ()) -> None:
        assert len(ids) + len(spoilt) <= PAGE
        self._work("asked")

    async def close_event(self, _: str) -> None:
        self.done.append("closed")


@pytest.mark.parametrize(
    ("embedded", "page", "part"),
    [(True, 0.1, REST), (True, 0.0, REST), (False, 0.1, REST_OF_SERVERS)],
    ids=["file", "quick", "server"],
)
async def test_after_each_page_it_rests_for_a_part_of_what_that_took(
    monkeypatch: pytest.MonkeyPatch, embedded: bool, page: float, part: float
) -> None:
    crowd = Crowd(embedded=embedded, pages=3, page=page)

    async def sleep(seconds: float) -> None:
        crowd.now += seconds
        crowd.done.append(f"rest {seconds:.6f}")

    loop = SimpleNamespace(time=lambda: crowd.now)
    monkeypatch.setattr(spreading, "asyncio", SimpleNamespace(sleep=sleep, get_running_loop=lambda: loop))
    monkeypatch.setattr(spreading, "is_true", lambda *_: True)
    await finish(cast("Store", crowd), Event("e", "k", "{}"))
    pause = f"rest {max(LEAST_REST, part * page):.6f}"
    twice = f"rest {max(LEAST_REST, part * page * 2):.6f}"  # the last of those pages, and the first of these
    assert crowd.done == ["page", pause, "page", pause, "page", "asked", twice, "asked", "closed"]
