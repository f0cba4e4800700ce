"""Mistakes are planted, one at a time, in a copy of the tree, and each must be caught: `make mutants`.

By the simulation alone, within a minute; or by the tests that its patch names. What fails with the mistake must pass
without it. It ends with 1 if one is not caught, or can't be planted any more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.mutants.patches import FOLDER, SIMULATION, Patch, PatchError, applied, patches

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".venv*", ".git", ".pytest_cache", ".ruff_cache", "__pycache__", ".bench")
TEST_SECONDS, HANGS = 60, 600
"""After which one of the tests that are named hangs; and after which anything does."""
_marks = count(1_000_000_000)


class Caught(NamedTuple):
    """What came of one."""

    patch: Patch
    by: str  # "": by nothing
    seconds: float
    why: str = ""


class Copy:
    """A copy of the tree, in which one mistake after another is planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)

    @contextlib.contextmanager
    def planted(self, patch: Patch) -> Iterator[None]:
        """It is there, for as long as this lasts."""
        files = applied(patch, self.folder)
        before = {path: path.read_text("utf-8") for path in files}
        try:
            for path, text in files.items():
                _write(path, text)
            yield
        finally:
            for path, text in before.items():
                _write(path, text)

    def run(self, *arguments: str, seconds: float) -> tuple[int | None, str]:
        """Python in this copy: how it ended (None: it did not), and what it said."""
        environment = {**os.environ, "PYTHONPATH": f"{self.folder / 'src'}{os.pathsep}{self.folder}"}
        environment["PYTHONPYCACHEPREFIX"] = str(self.folder.with_suffix(".pycache"))
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with subprocess.Popen(
            [sys.executable, *arguments], cwd=self.folder, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            try:
                said, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)  # (a server of its tests ends with them)
                said, _ = process.communicate()
                return None, said
            return process.returncode, said


def _write(path: Path, text: str) -> None:
    """Each time with another date: what was compiled of it before must not be taken for it."""
    path.write_text(text, "utf-8")
    mark = next(_marks)
    os.utime(path, (mark, mark))


# --- by what ----------------------------------------------------------------------------------------------------------


def look(copy: Copy, patch: Patch, worlds: float | None) -> Caught:
    """Plant it, and see what catches it: so many seconds of `worlds`, or the tests that it names."""
    begin = time.monotonic()
    try:
        by, why = _by_tests(copy, patch) if worlds is None else _by_worlds(copy, patch, worlds)
    except PatchError as error:
        return Caught(patch, "", 0, str(error))
    return Caught(patch, by, time.monotonic() - begin, why)


def _by_worlds(copy: Copy, patch: Patch, worlds: float) -> tuple[str, str]:
    with copy.planted(patch):
        code, said = copy.run("-m", "tests.mutants.worlds", str(worlds), *filter(None, [patch.store]), seconds=HANGS)
    found = re.search(r"^seed (\d+): (.*)", said, re.MULTILINE)
    if found is None:
        return "", f"no world shows it within {worlds:g} s" if code in (0, None) else _last_line(said)
    store = ("--store", patch.store) if patch.store else ()
    code, said = copy.run("-m", "tests.simulation", "--seed", found[1], *store, seconds=HANGS)
    if code != 0:
        return "", f"world {found[1]} is wrong without it as well"
    return SIMULATION, f"seed {found[1]}: {found[2]}"


def _by_tests(copy: Copy, patch: Patch) -> tuple[str, str]:
    tests = shlex.split(patch.caught_by)
    with copy.planted(patch):
        code, said = _pytest(copy, *tests, "-x")
    if code not in (1, None):
        return "", _last_line(said)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+?::[^\s[]+(?:\[.*?\](?= - |$))?)", said, re.MULTILINE)
    again = [failed[1]] if failed else tests  # where a test hangs none is named
    code, _ = _pytest(copy, *again)
    if code != 0:
        return "", f"{again[0]} fails without it as well"
    return tests[0], failed[1] if failed else "a test hangs"


def _pytest(copy: Copy, *arguments: str) -> tuple[int | None, str]:
    options = ("-q", "-n", "0", "--tb=no", "-p", "no:cacheprovider", "-o", f"timeout={TEST_SECONDS}")
    return copy.run("-m", "pytest", *options, *arguments, seconds=HANGS)


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["it said nothing"])[-1]


# --- all of them ------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only those whose names begin with one of these")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the patches are")
    parser.add_argument("--worlds", action="store_true", help="which does the simulation catch, whatever they say?")
    parser.add_argument("--seconds", type=float, default=60, help="of a processor, in which the simulation must see it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    wanted = [
        patch for patch in patches(options.folder) if not options.names or patch.name.startswith(tuple(options.names))
    ]
    if not wanted:
        parser.error("there is none of that name")
    return _summary(list(_all(wanted, options)))


def _all(wanted: list[Patch], options: argparse.Namespace) -> Iterator[Caught]:
    width = max(len(patch.name) for patch in wanted)
    with tempfile.TemporaryDirectory(prefix="mutants") as folder, ThreadPoolExecutor(options.processes) as pool:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(options.processes):
            copies.put(Copy(Path(folder) / f"copy{number}"))

        def one(patch: Patch) -> Caught:
            copy = copies.get()
            try:
                return look(copy, patch, options.seconds if patch.by_simulation or options.worlds else None)
            finally:
                copies.put(copy)

        for done in as_completed([pool.submit(one, patch) for patch in wanted]):
            caught = done.result()
            by = caught.by or "NOTHING"
            print(f"{caught.patch.name:<{width}}  {by:<44} {caught.seconds:5.0f} s  {caught.why[:150]}", flush=True)
            yield caught


def _summary(caught: list[Caught]) -> int:
    by_worlds = sum(one.by == SIMULATION for one in caught)
    survived = sorted(one.patch.name for one in caught if not one.by)
    by_tests = len(caught) - by_worlds - len(survived)
    print(
        f"\n{len(caught)} planted: {by_worlds} caught by the simulation alone ({by_worlds / len(caught):.0%}), ", end=""
    )
    print(f"{by_tests} by tests that are named, {len(survived)} by nothing{': ' * bool(survived)}{', '.join(survived)}")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
