"""Reading one file. What is no regular file is refused before it can make anybody wait."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 1024 * 1024
KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symlink",
}


class Unreadable(Exception):  # noqa: N818  (a run's error reads "Unreadable: permission denied: ...")
    """A file that can't be counted, and why."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One file. `hash` is BLAKE2b of its content."""

    lines: int
    words: int
    bytes: int
    hash: str
    seconds: float = 0.0


def count(path: str, cancelled: Callable[[], bool]) -> Counted:
    """Read `path`, in pieces.

    Raises:
        Unreadable: it is not there (any more), is not a regular file, or may not be read.
    """
    shown = path.encode("utf-8", "backslashreplace").decode()
    try:
        _must_be_regular(os.lstat(path).st_mode, shown)
        # Not a link and no blocking, in case it was exchanged for something else since.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            _must_be_regular(os.fstat(descriptor).st_mode, shown)
            return _read(descriptor, cancelled, shown)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unreadable(f"{error.strerror or error}: {shown}") from None


def _must_be_regular(mode: int, shown: str) -> None:
    if not stat.S_ISREG(mode):
        raise Unreadable(f"{KINDS.get(stat.S_IFMT(mode), 'no regular file')}, nothing to read: {shown}")


def _read(descriptor: int, cancelled: Callable[[], bool], shown: str) -> Counted:
    lines = words = size = 0
    digest = hashlib.blake2b(digest_size=16)
    in_word = False
    while piece := os.read(descriptor, CHUNK):
        size += len(piece)
        lines += piece.count(b"\n")
        words += len(piece.split()) - (in_word and not piece[:1].isspace())
        in_word = not piece[-1:].isspace()
        digest.update(piece)
        if cancelled():
            raise Unreadable(f"cancelled after {size:,} bytes: {shown}")
    return Counted(lines, words, size, digest.hexdigest())
