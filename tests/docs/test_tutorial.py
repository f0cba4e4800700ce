"""The tutorial, done: its file, its workers, and its killing, with real processes."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanwood import Fanwood
from tests.docs.pages import ROOT, blocks
from tests.docs.processes import Process, Start

(FILE,) = [block.text for block in blocks(ROOT / "docs" / "tutorial.md") if block.info == "python"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def start(*arguments: str) -> Process:
        started.append(Process(tmp_path, *arguments))
        return started[-1]

    yield start
    for process in started:
        if process.alive:
            process.kill()
    for process in started:
        process.end()


def put_file(folder: Path, seconds: float) -> None:
    assert "time.sleep(0.5)" in FILE
    (folder / "books.py").write_text(FILE.replace("time.sleep(0.5)", f"time.sleep({seconds})"), encoding="utf-8")


def counted(process: Process) -> list[str]:
    return [line for line in process.seen if line.startswith("counted ")]


def test_the_file_runs_by_itself(tmp_path: Path, start: Start):
    put_file(tmp_path, 0.001)
    script = start("books.py")
    lines = script.end()
    assert lines[-1] == "360 words"
    assert len(set(counted(script))) == len(lines) - 1 == 90
    assert (tmp_path / ".fanwood" / "fanwood.db").exists()


def test_workers_are_killed_and_nothing_is_lost(tmp_path: Path, start: Start):
    put_file(tmp_path, 0.05)
    worker = ("-m", "fanwood", "worker", "books:fanwood", "--slots", "4")
    first, second = start(*worker), start(*worker)
    for process in (first, second):
        process.wait_for("serves 3 task(s)")
    client = start("-m", "fanwood", "run", "count_book", "--input", "3")
    first.wait_for("counted ", times=5)
    first.kill()
    first.end()
    second.wait_for("counted ", times=5)
    second.kill()
    second.end()
    third = start(*worker)
    assert client.end()[-1] == "360"
    third.kill(signal.SIGTERM)
    third.end()
    printed = Counter(counted(first) + counted(second) + counted(third))
    claimed = claims(tmp_path)
    assert set(printed) == set(claimed)
    assert len(claimed) == 90
    assert {page: times for page, times in printed.items() if times > claimed[page]} == {}
    assert 1 in claimed.values(), "every page was claimed again, also those that were done"


def claims(folder: Path) -> dict[str, int]:
    """How often each page was claimed: more than once only if a worker died before it was done."""
    with Fanwood(f"sqlite:///{folder}/.fanwood/fanwood.db", local_worker=False) as app:
        (book,) = app.runs.list()
        pages = [page for chapter in app.runs.children(book.id) for page in app.runs.children(chapter.id)]
        return {f"counted {app.runs.get(page.id).input}": page.attempt for page in pages}
