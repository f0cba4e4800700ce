"""Small looks into a file go to its reader's thread together, and are answered each by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fanwood.store.sqlite.reader import AT_ONCE, Together

if TYPE_CHECKING:
    from collections.abc import Callable


class Jobs:
    """A reader that counts its jobs."""

    def __init__(self) -> None:
        self.count = 0

    async def read(self, query: Callable[[Any], Any]) -> Any:
        self.count += 1
        await asyncio.sleep(0)
        return query("db")


def found(n: int) -> Callable[[Any], str]:
    def query(db: Any) -> str:
        if n == 7:
            raise ValueError(f"{n} of {db}")
        return f"{n} of {db}"

    return query


async def test_they_go_together() -> None:
    jobs = Jobs()
    together = Together(jobs)  # type: ignore[arg-type]
    wanted = [n for n in range(3 * AT_ONCE) if n != 7]
    assert await asyncio.gather(*(together.read(found(n)) for n in wanted)) == [f"{n} of db" for n in wanted]
    assert jobs.count == 3


async def test_whose_fault_it_is_is_told_by_itself() -> None:
    jobs = Jobs()
    together = Together(jobs)  # type: ignore[arg-type]
    answers = await asyncio.gather(*(together.read(found(n)) for n in range(10)), return_exceptions=True)
    assert [str(answer) for answer in answers] == [f"{n} of db" for n in range(10)]
    assert [n for n, answer in enumerate(answers) if isinstance(answer, ValueError)] == [7]
    with pytest.raises(ValueError, match="7 of db"):
        await together.read(found(7))
    assert await together.read(found(8)) == "8 of db"


async def test_who_gives_up_takes_nobody_with_him() -> None:
    together = Together(Jobs())  # type: ignore[arg-type]
    first, second = (asyncio.ensure_future(together.read(found(n))) for n in (1, 2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "2 of db"
    assert first.cancelled()
