"""A folder is counted by a tree of tasks: `survey` is the root, each `folder` spawns a child for every sub-folder and
every file in it, and sums up what they return. A `file` that can't be read fails alone.

Folders are async, for they mostly wait; files are sync, for reading blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from fanwood.app import Fanwood
from fanwood.demo import content, listing
from fanwood.demo.content import Counted
from fanwood.demo.duplicates import Copies, Found, among, heaviest
from fanwood.sdk.declaring.items import BulkRunItem
from fanwood.sdk.tasks.context import Context

fanwood = Fanwood(namespace="demo", local_worker=True)

SLOWEST = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or file. `raw` is its path in hex, where the path is no valid text."""

    path: str
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is in a folder, all the way down."""

    files: int = 0
    folders: int = 0
    lines: int = 0
    words: int = 0
    bytes: int = 0
    failed: int = 0
    symlinks: int = 0
    skipped: int = 0

    def __add__(self, other: Numbers) -> Numbers:
        return Numbers(*map(int.__add__, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Timed:
    """How long it took to read a file."""

    seconds: float
    path: str


@dataclass(frozen=True, slots=True)
class Sum:
    """A folder's result: its numbers; its files by content and the slowest of them, paths from here on down."""

    numbers: Numbers
    found: list[Found] = field(default_factory=list[Found])
    slowest: list[Timed] = field(default_factory=list[Timed])


@dataclass(frozen=True, slots=True)
class Survey:
    """The root's result: the sum, and which files are there more than once."""

    numbers: Numbers
    copies: list[Copies]
    slowest: list[Timed]


@fanwood.task
def file(input: Place, ctx: Context) -> Counted:
    """Read one file: lines, words, bytes, a hash of its content."""
    began = fanwood.clock.monotonic()
    counted = content.count(listing.real(input.path, input.raw), lambda: ctx.is_cancelled)
    return replace(counted, seconds=fanwood.clock.monotonic() - began)


@fanwood.task
async def folder(input: Place) -> Sum:
    """Count a folder: a child for each thing in it, and the sum of what they return."""
    return await _count(input)


@fanwood.task
async def survey(input: Place) -> Survey:
    """The root: count a folder, and find files with the same content."""
    total = await _count(input)
    return Survey(total.numbers, among(total.found), total.slowest)


async def _count(place: Place) -> Sum:
    listed = await asyncio.to_thread(listing.look_into, listing.real(place.path, place.raw))
    items = [_item(entry, is_folder=True) for entry in listed.folders]
    items += [_item(entry, is_folder=False) for entry in listed.files]
    results = await folder.aio_run_many(items, return_exceptions=True)
    names = [entry.name for entry in (*listed.folders, *listed.files)]
    return _added(Numbers(symlinks=listed.symlinks, skipped=listed.skipped), names, results)


def _item(entry: listing.Entry, *, is_folder: bool) -> BulkRunItem[Any, Any]:
    """Its name is its key below its parent: that is what `fanwood tree` shows."""
    place = Place(entry.path, entry.raw)
    if is_folder:
        return folder.create_bulk_run_item(place, key=f"{entry.name}/")
    return file.create_bulk_run_item(place, key=entry.name)


def _added(numbers: Numbers, names: list[str], results: Sequence[object]) -> Sum:
    found: list[Found] = []
    slowest: list[Timed] = []
    for name, result in zip(names, results, strict=True):
        if isinstance(result, Counted):
            numbers += Numbers(files=1, lines=result.lines, words=result.words, bytes=result.bytes)
            found.append(Found(result.hash, result.bytes, name))
            slowest.append(Timed(result.seconds, name))
        elif isinstance(result, Sum):
            numbers += result.numbers + Numbers(folders=1)
            found += [replace(each, path=f"{name}/{each.path}") for each in result.found]
            slowest += [replace(each, path=f"{name}/{each.path}") for each in result.slowest]
        else:
            numbers += Numbers(failed=1)
    return Sum(numbers, heaviest(found), sorted(slowest, key=lambda timed: -timed.seconds)[:SLOWEST])
