"""What is in a folder: sub-folders and files, nothing that leads elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from fanwood.demo.content import Unreadable

SKIPPED = {".git", ".venv", "node_modules", "__pycache__", ".fanwood"}
"""Folders that are not counted; how many there were, is said."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A name that can travel as JSON, and the path; `raw` is the path in hex if it is no valid text."""

    name: str
    path: str
    raw: str = ""


@dataclass(slots=True)
class Listed:
    """A folder's contents, sorted by name."""

    folders: list[Entry] = field(default_factory=list[Entry])
    files: list[Entry] = field(default_factory=list[Entry])
    symlinks: int = 0
    skipped: int = 0


def look_into(path: str) -> Listed:
    """List a folder.

    Raises:
        Unreadable: it can't be listed.
    """
    listed = Listed()
    try:
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                _sort_in(entry, listed)
    except OSError as error:
        raise Unreadable(f"{error.strerror or error}: {text(path)}") from None
    return listed


def _sort_in(entry: os.DirEntry[str], listed: Listed) -> None:
    if entry.is_symlink():
        listed.symlinks += 1
    elif not entry.is_dir(follow_symlinks=False):
        listed.files.append(_entry(entry))
    elif entry.name in SKIPPED:
        listed.skipped += 1
    else:
        listed.folders.append(_entry(entry))


def _entry(entry: os.DirEntry[str]) -> Entry:
    shown = text(entry.path)
    return Entry(text(entry.name), shown, "" if shown == entry.path else os.fsencode(entry.path).hex())


def text(path: str) -> str:
    """A path that can travel as JSON and be shown: bytes that are no text are escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


def real(path: str, raw: str) -> str:
    """The path itself."""
    return os.fsdecode(bytes.fromhex(raw)) if raw else path
