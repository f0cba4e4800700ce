"""
A disk whose power fails: everything that SQLite writes through `Recording` goes to the real file and into a record as
well, from which `Disk` makes what may be left of the files if the power was cut at a certain moment.

What was synced is there. Of what was written since, each sector of 512 bytes is there or is not, whatever came before
or after it; a file may have its new length and not its contents. A name that was made or removed is as it was before,
until its folder is synced: SQLite does that when it first syncs a journal or a log that it has made.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import apsw

SECTOR = 512
_JOURNALS = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL
_NAMES = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Made:
    name: str
    inode: int


@dataclass(frozen=True, slots=True)
class Removed:
    name: str
    synced: bool


@dataclass(frozen=True, slots=True)
class Written:
    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    inode: int
    folder: bool  # its folder as well


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Somebody was told that a transaction is committed."""

    state: int


Event = Made | Removed | Written | Truncated | Synced | Acknowledged


class Recording(apsw.VFS):
    """SQLite's own way to the disk, with a record. While inside, files are opened by it unless another is named."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.inodes: dict[str, int] = {}
        self.numbers = itertools.count(1)
        self.base = apsw.vfs_names()[0]
        super().__init__(f"recording {next(_NAMES)}", base=self.base, makedefault=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  (SQLite's name)
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        if self.inodes.pop(filename, None) is not None:
            self.events.append(Removed(filename, bool(syncdir)))


class _File(apsw.VFSFile):
    def __init__(self, disk: Recording, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        assert path is not None, "a file without a name, whose life we do not know"
        there = os.path.exists(path)  # noqa: PTH110
        super().__init__(disk.base, name, flags)
        if not there:
            disk.inodes[path] = next(disk.numbers)
            disk.events.append(Made(path, disk.inodes[path]))
        self._note = disk.events.append
        self._inode = disk.inodes[path]
        self._new = not there and bool(flags[0] & _JOURNALS)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._note(Written(self._inode, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._note(Truncated(self._inode, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._note(Synced(self._inode, self._new))
        self._new = False


@dataclass
class Disk:
    """As it is after some events: what is on it for certain, and what else has been asked for."""

    contents: dict[int, bytearray] = field(default_factory=dict[int, bytearray])
    names: dict[str, int] = field(default_factory=dict[str, int])
    writes: dict[int, list[Written | Truncated]] = field(default_factory=dict[int, Any])
    changes: list[Made | Removed] = field(default_factory=list[Any])  # of names
    acknowledged: int = -1  # the last state

    def do(self, event: Event) -> None:
        match event:
            case Made():
                self.contents[event.inode] = bytearray()
                self.writes[event.inode] = []
                self.changes.append(event)
            case Removed():
                self.changes.append(event)
                if event.synced:
                    self._sync_names()
            case Written() | Truncated():
                self.writes[event.inode].append(event)
            case Synced():
                for write in self.writes[event.inode]:
                    _apply(self.contents[event.inode], write)
                self.writes[event.inode].clear()
                if event.folder:
                    self._sync_names()
            case Acknowledged():
                self.acknowledged = max(self.acknowledged, event.state)

    def _sync_names(self) -> None:
        _rename(self.names, self.changes)
        self.changes.clear()

    def cut(self, folder: Path, dice: random.Random) -> None:
        """The power fails now: what is left of the files, in another folder."""
        kept = dice.choice([0.0, 0.2, 0.5, 0.8, 1.0])
        names = dict(self.names)
        _rename(names, self.changes[: dice.randint(0, len(self.changes))])  # folders have journals, which are in order
        for name, inode in names.items():
            content = bytearray(self.contents[inode])
            for write in _pieces(self.writes[inode]):
                if dice.random() < kept:
                    _apply(content, write)
            (folder / Path(name).name).write_bytes(content)


def _apply(content: bytearray, write: Written | Truncated) -> None:
    if isinstance(write, Truncated):
        del content[write.size :]
        content.extend(bytes(write.size - len(content)))
        return
    content.extend(bytes(max(0, write.offset - len(content))))
    content[write.offset : write.offset + len(write.data)] = write.data


def _rename(names: dict[str, int], changes: Iterable[Made | Removed]) -> None:
    for change in changes:
        if isinstance(change, Made):
            names[change.name] = change.inode
        else:
            names.pop(change.name, None)


def _pieces(writes: list[Written | Truncated]) -> Iterator[Written | Truncated]:
    """By sectors."""
    for write in writes:
        if isinstance(write, Truncated):
            yield write
            continue
        start, data = write.offset, write.data
        while data:
            room = SECTOR - start % SECTOR
            yield Written(write.inode, start, data[:room])
            start, data = start + room, data[room:]
