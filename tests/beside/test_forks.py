"""Tests in several processes are all run, each once, and whatever goes wrong in one of them fails the whole."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest
from tests.beside import forks

pytestmark = pytest.mark.long

TREE = Path(__file__).parents[2]
SHARED = """
import pytest
@pytest.fixture(scope="session")
def place(tmp_path_factory):
    yield tmp_path_factory.getbasetemp()
    with open({log!r}, "a") as log: log.write("down ")
"""
TESTS = """
import gc, os, pytest
@pytest.fixture(scope="module")
def module(place):
    yield
    with open({log!r}, "a") as log: log.write("left ")
@pytest.mark.parametrize("n", range(3))
def test_it(n, place, module):
    assert gc.isenabled()
    assert os.environ["PYTHONPATH"].startswith({children!r})
    with open({log!r}, "a") as log: log.write(f"{{place.name}}-{{n}} ")
"""

HANGS = """
import threading
@pytest.mark.timeout(600)
def test_that_ends(): pass
@pytest.mark.timeout(0.2)
def test_that_hangs(): threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ("", 0, "9 passed"),
        ("def test_that_fails(): print('why'); assert 1 == 2", 1, "1 failed, 9 passed"),
        ("def test_that_ends(): os._exit(0)", 1, "a process has ended at test_2.py::test_that_ends"),
        (HANGS, 1, "a process has ended at test_2.py::test_that_hangs"),
        (
            "@pytest.fixture(scope='session')\ndef bad():\n  yield\n  1/0\ndef test_bad(bad): pass",
            1,
            "division by zero",
        ),
    ],
)
def test_what_they_say_counts(tmp_path: Path, more: str, code: int, said: str) -> None:
    log = tmp_path / "log"
    (tmp_path / "conftest.py").write_text(SHARED.format(log=str(log)))
    for number in range(3):
        (tmp_path / f"test_{number}.py").write_text(
            TESTS.format(log=str(log), children=str(forks.CHILDREN)) + (more if number == 2 else "")
        )
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path))
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(TREE)}
    limited = ("-p", "pytest_timeout", "--timeout-method", "thread")
    forked = ("-p", "tests.beside.forks", "--forks", "2", "--basetemp", str(tmp_path / "base"), str(tmp_path))
    whole = (*command, *limited, *forked)
    done = subprocess.run(whole, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
    if not code:
        words = log.read_text().split()
        told = [word.split("-") for word in words if "-" in word]
        assert sorted(number for _, number in told) == [*"000111222"]
        assert words.count("left") == 3
        assert words.count("down") == len({place for place, _ in told})  # whoever has two files has it for both


def test_what_one_process_is_to_have_is_not_torn_apart() -> None:
    """Else each process that gets a file of the pages' starts a browser of its own."""
    names = [f"{folder}/test_{number}.py" for folder in ("a", "browser", "chaos", "z") for number in range(9)]
    items: list[Any] = [
        SimpleNamespace(path=TREE / "tests" / name) for name in [*names, "simulation/test_simulation.py"]
    ]
    conftest.pytest_collection_modifyitems(items)
    blocks = [block.name for block, _ in itertools.groupby(map(forks._block, items))]
    assert blocks[:2] == ["test_simulation.py", "browser"]
    assert len(blocks) == len(set(map(str, (forks._block(item) for item in items)))) == 29


def test_what_tests_start_looks_for_garbage_as_they_do() -> None:
    alone = {**os.environ, "PYTHONPATH": str(forks.CHILDREN)}
    command = (sys.executable, "-c", "import gc; print(*gc.get_threshold())")
    said = subprocess.run(command, env=alone, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(number) for number in forks.COLLECTIONS]
