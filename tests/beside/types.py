"""
Whether types fit: everywhere (`make lint`), or in the places that are named. `make test` runs it beside the tests, for
what is not executed there, or is used by others: the types of tests are half of the work, and tests are executed.

To look takes as long as thousands of tests do. So what was in order isn't looked at again before something changes: a
file, the packages that are installed, a rule. That is remembered for all clones of whoever tests: what was found in
order before a commit is so after it, and in a new clone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

TREE = Path(__file__).parents[2]
PLACES = ("src", "tests", "examples", "benchmarks")
RULES = ("pyproject.toml", "requirements-dev.lock")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "fanwood-tests", "types-in-order")
"""A file for each state that was found in order, without anything in it."""
KEPT = 100
COMMAND = (sys.executable, "-m", "pyright")
ROOM = "--max-semi-space-size=128"
"""Megabytes in which Node makes what is new: with its own 16 it looks for garbage for an eighth of the time."""


def main(*places: str) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without what it has started
    known, everywhere = CACHE / state(TREE, *places), CACHE / state(TREE)
    if known.exists() or everywhere.exists():
        print("Nothing has changed since types were in order.")
        return 0
    options = " ".join(filter(None, (os.environ.get("NODE_OPTIONS"), ROOM)))
    command = (*COMMAND, *places)
    code = subprocess.run(command, cwd=TREE, check=False, env={**os.environ, "NODE_OPTIONS": options}).returncode
    if code == 0:
        with contextlib.suppress(OSError):  # somebody without a home looks again each time
            _remember(known)
    return code


def _remember(known: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    known.touch()
    for old in sorted(CACHE.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)


def state(tree: Path, *places: str) -> str:
    """Of all that the answer depends on. (What is in these places may import anything.)"""
    packages = sorted({(package.name, package.version) for package in metadata.distributions()})
    found = hashlib.sha256(repr((COMMAND[1:], places, sys.version_info, sys.platform, packages)).encode())
    files = [path for place in PLACES for path in (tree / place).rglob("*.py*") if path.suffix in {".py", ".pyi"}]
    for path in sorted([*files, *(tree / name for name in RULES)]):
        found.update(f"\n{path.relative_to(tree)} {path.stat().st_size}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
