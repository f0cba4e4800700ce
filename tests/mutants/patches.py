"""Mistakes to be planted: small patches of the source, each with what it is, and with what catches it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
CAUGHT_BY = "Caught by:"
SIMULATION = "simulation"
STORES = {
    "memory": "src/fanwood/store/memory/",
    "sqlite": ("src/fanwood/store/sqlite/", "src/fanwood/store/sql/"),
}
"""Those on which worlds stand."""


class Hunk(NamedTuple):
    """Some lines of a file, before and after. (Where they stand is found by what they say.)"""

    path: str
    before: str
    after: str


class Patch(NamedTuple):
    """One mistake."""

    name: str
    what: str
    caught_by: str
    """The simulation, or arguments of pytest: files, and perhaps `-k` with an expression."""
    hunks: list[Hunk]

    @property
    def by_simulation(self) -> bool:
        return self.caught_by == SIMULATION

    @property
    def store(self) -> str:
        """Of worlds: that in whose own code or SQL it is; of any, if it is in none's."""
        own = {store for store, folders in STORES.items() if all(h.path.startswith(folders) for h in self.hunks)}
        return next(iter(own), "")


class PatchError(ValueError):
    """A patch that can't be read, or does not apply."""


def patches(folder: Path = FOLDER) -> list[Patch]:
    """All of them, in order."""
    return [read(path) for path in sorted(folder.glob("*.patch"))]


def read(path: Path) -> Patch:
    """The patch in a file: text, the line `Caught by:`, and a unified diff."""
    head, mark, diff = path.read_text("utf-8").partition("\n--- ")
    what, _, caught_by = head.partition(CAUGHT_BY)
    if not mark or not what.strip() or not caught_by.strip():
        raise PatchError(f"{path.name}: it must say what it is, and {CAUGHT_BY!r}, before its diff")
    hunks = _hunks(f"--- {diff}".splitlines())
    if not hunks or any(hunk.before == hunk.after for hunk in hunks):
        raise PatchError(f"{path.name}: it changes nothing")
    return Patch(path.stem, " ".join(what.split()), " ".join(caught_by.split()), hunks)


def _hunks(lines: list[str]) -> list[Hunk]:
    found: list[tuple[str, list[str], list[str]]] = []
    path = ""
    for line in lines:
        mark, text = line[:1], line[1:]
        if line.startswith("+++ "):
            path = line.split()[1].removeprefix("b/")
        elif mark == "@":
            found.append((path, [], []))
        elif found and not line.startswith(("--- ", "diff ", "index ", "\\")):
            if mark in (" ", "-", ""):
                found[-1][1].append(text)
            if mark in (" ", "+", ""):
                found[-1][2].append(text)
    return [Hunk(path, _text(before), _text(after)) for path, before, after in found]


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def applied(patch: Patch, root: Path) -> dict[Path, str]:
    """The files below `root` that it changes, as they are then.

    Raises:
        PatchError: the lines that it is to change are not there, or more than once.
    """
    files: dict[Path, str] = {}
    for hunk in patch.hunks:
        path = root / hunk.path
        text = "\n" + (files[path] if path in files else path.read_text("utf-8"))
        before, after = f"\n{hunk.before}", f"\n{hunk.after}"
        at = text.find(before)
        if at < 0 or text.find(before, at + 1) >= 0:
            how = "is not there" if at < 0 else "is there more than once"
            raise PatchError(f"{patch.name}: what it changes in {hunk.path} {how}")
        files[path] = (text[:at] + after + text[at + len(before) :]).removeprefix("\n")
    return files
