"""A tree of any size that does nothing but look like work: families of all sizes, recursion, stragglers, retries, and
failures of three kinds. All of it follows from the numbers of its runs, so a run that is tried again does the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fanwood.app import Fanwood
from fanwood.sdk.declaring.items import BulkRunItem
from fanwood.sdk.tasks.context import Context

fanwood = Fanwood(namespace="demo", local_worker=True)

PART = 300
"""Rows of a part."""
SPLITS = 50
"""One run of so many is one of the recursion."""
DEEPEST = 2_000
MIX = 2_654_435_761
_SHARES = 10_000


@dataclass(frozen=True, slots=True)
class Size:
    """How many runs there are to be, from here on down."""

    runs: int
    first: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A leaf. Everything that becomes of it follows from its number."""

    number: int


def _dice(number: int) -> int:
    """From 0 to 9,999, spread."""
    return number * MIX % (1 << 32) * _SHARES >> 32


@fanwood.task(retries=1)
async def fetch(row: Row, ctx: Context) -> int:
    """One in a hundred is answered at the second try only, one in three hundred never."""
    dice = _dice(row.number)
    await _work(dice)
    if dice % 100 == 1 and ctx.retry_count == 0:
        raise ConnectionError(f"connection reset by 10.0.{dice % 7}.{dice % 250}")
    if dice % 300 == 2:
        raise TimeoutError(f"no answer from 10.0.{dice % 7}.{dice % 250} after {5 + dice % 25} s")
    return dice % 50


@fanwood.task
async def parse(row: Row) -> int:
    """One row of a part."""
    dice = _dice(row.number)
    await _work(dice)
    if dice % 80 == 3:
        raise ValueError(f"bad row {row.number % PART} in part {row.number // PART}")
    return dice % 20


@fanwood.task
async def index(row: Row) -> int:
    """Every tenth row."""
    dice = _dice(row.number)
    await _work(dice)
    known = {"orders": dice}
    return known[f"customer-{dice}" if dice % 40 == 4 else "orders"]


@fanwood.task
async def part(size: Size) -> int:
    """A part of the whole: its rows, most of them parsed, some indexed."""
    return _sum(await parse.aio_run_many(_rows(size), return_exceptions=True))


@fanwood.task
async def split(size: Size) -> int:
    """Calls itself, for two uneven halves of what is left."""
    left = size.runs - 1
    halves = [Size(runs, size.first + runs) for runs in (left // 3, left - left // 3) if runs]
    await _work(_dice(size.first))
    return 1 + sum(await split.aio_run_many([split.create_bulk_run_item(half) for half in halves]))


@fanwood.task
async def ingest(size: Size) -> int:
    """The root: about half of all runs right below it, the others in parts, and a recursion beside them."""
    below = size.runs - 1
    splits = min(DEEPEST, below // SPLITS)
    parts = (below - splits) // 2 // (PART + 1)
    fetched = below - splits - parts * (PART + 1)
    items: list[BulkRunItem[Any, Any]] = [split.create_bulk_run_item(Size(splits))] if splits else []
    items += [part.create_bulk_run_item(Size(PART, number * PART), key=f"part {number}") for number in range(parts)]
    items += [fetch.create_bulk_run_item(Row(number)) for number in range(fetched)]
    return _sum(await ingest.aio_run_many(items, return_exceptions=True))


def _rows(size: Size) -> Iterator[BulkRunItem[Any, Any]]:
    for number in range(size.first, size.first + size.runs):
        task = index if number % 10 == 9 else parse
        yield task.create_bulk_run_item(Row(number))


async def _work(dice: int) -> None:
    """Some milliseconds; now and then a tenth of a second, and seldom two seconds."""
    straggles = 2.0 if dice % 2_000 == 7 else 0.1 if dice % 50 == 5 else 0.0
    await asyncio.sleep(straggles + 0.002 + dice % 40 * 0.0005)


def _sum(results: list[Any]) -> int:
    return sum(result for result in results if isinstance(result, int))
