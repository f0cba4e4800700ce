"""What runs that go on have recorded is read of many at once, and whoever gets no answer is told so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fanwood.engine.littles import AT_ONCE, LONG, MANY, Littles

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = [number.to_bytes(2, "big") for number in range(3 * AT_ONCE)]


class Looked:
    """A store that counts its looks."""

    def __init__(self, trouble: BaseException | None = None) -> None:
        self.looks: list[int] = []
        self.trouble = trouble
        self.may = asyncio.Event()
        self.may.set()

    async def recorded_few(self, parents: Sequence[tuple[bytes, bytes]], limit: int, most: int) -> list[Any]:
        assert (limit, most) == (MANY, LONG)
        self.looks.append(len(parents))
        await self.may.wait()
        if self.trouble is not None:
            raise self.trouble
        return [None if key == KEYS[7] else [key, after] for key, after in parents]


async def read(littles: Littles, keys: Sequence[bytes]) -> list[Any]:
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*(littles.read(loop, key, b"after") for key in keys))


async def test_they_are_read_together_and_each_is_told_his() -> None:
    store = Looked()
    found = await read(Littles(store), KEYS)  # type: ignore[arg-type]
    assert found == [None if key == KEYS[7] else [key, b"after"] for key in KEYS]
    assert store.looks == [AT_ONCE] * 3


@pytest.mark.parametrize("trouble", [ValueError("damaged"), asyncio.CancelledError(), SystemExit()])
async def test_trouble_is_nobodys_answer_and_the_next_are_read(trouble: BaseException) -> None:
    store = Looked(trouble)
    littles = Littles(store)  # type: ignore[arg-type]
    assert await read(littles, KEYS[:2]) == [None, None]
    store.trouble = None
    assert await read(littles, KEYS[:1]) == [[KEYS[0], b"after"]]


async def test_what_ends_the_reading_leaves_nobody_waiting() -> None:
    """Also those whose turn had not come."""
    store = Looked(GeneratorExit())
    littles = Littles(store)  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        assert await read(littles, KEYS) == [None] * len(KEYS)
    store.trouble = None
    assert await read(littles, KEYS[:1]) == [[KEYS[0], b"after"]]


async def test_when_it_is_over_nobody_waits() -> None:
    store = Looked()
    store.may.clear()
    littles, loop = Littles(store), asyncio.get_running_loop()  # type: ignore[arg-type]
    early = asyncio.ensure_future(read(littles, KEYS[: 2 * AT_ONCE]))
    while not store.looks:
        await asyncio.sleep(0)
    littles.close()
    assert await littles.read(loop, KEYS[0], b"") is None
    store.may.set()
    found = await early
    assert found[AT_ONCE:] == [None] * AT_ONCE
    closed = asyncio.new_event_loop()
    closed.close()
    assert await Littles(store).read(closed, KEYS[0], b"") is None  # type: ignore[arg-type]
