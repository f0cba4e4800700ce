"""How long tests keep processors busy (`-p tests.beside.times --times FILE`): a line for each test, with seconds that
went by and seconds of processors, its own and those of processes that have ended; and one for each file, with those
that live on.
"""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TICKS = os.sysconf("SC_CLK_TCK")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", type=Path, help="write there how long each test, and each file, keeps processors busy")


def pytest_configure(config: pytest.Config) -> None:
    path: Path | None = config.getoption("--times")
    if path is not None:
        config.pluginmanager.register(_Times(path))


class _Times:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[Path, float, float] | None = (
            None  # which one is under way, and what there was at its beginning
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        if self._file is None:
            self._file = item.path, time.monotonic(), of_tree()
        with self._line(item.nodeid):
            done = yield
        if getattr(nextitem, "path", None) != item.path:
            path, began, used = self._file
            self._file = None
            self._write(f"{path}", time.monotonic() - began, of_tree() - used)
        return done

    @contextmanager
    def _line(self, name: str) -> Iterator[None]:
        began, used = time.monotonic(), _used()
        yield
        self._write(name, time.monotonic() - began, _used() - used)

    def _write(self, name: str, took: float, used: float) -> None:
        with self._path.open("a") as file:  # a line at a time, of several processes
            file.write(f"{took:.3f}\t{used:.3f}\t{name}\n")


def _used() -> float:
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def of_tree() -> float:
    """Seconds of this process, and of all that it has started, and they."""
    times, children = dict[int, int](), defaultdict[int, list[int]](list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = path.read_text().rpartition(") ")
        except OSError:  # it has ended
            continue
        fields = rest.split()
        pid = int(path.parent.name)
        times[pid] = sum(map(int, fields[11:15]))
        children[int(fields[1])].append(pid)
    there = [os.getpid()]
    for pid in there:
        there += children[pid]
    return sum(times[pid] for pid in there if pid in times) / TICKS
