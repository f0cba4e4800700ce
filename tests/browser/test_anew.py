"""What fails as the machine's network changes is done anew, and said; what fails without that is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
HOOKS = """
from pathlib import Path
from tests.browser import anew
from tests.browser.anew import pytest_report_teststatus, pytest_runtest_protocol, pytest_terminal_summary
anew._HERE = Path(__file__).parent
"""
TESTS = """
import pytest
from tests.browser.anew import LOOKED_ON, TIMES

begun = []

@pytest.fixture
def watch(request):
    begun.append(request.node.name)
    yield request.node.stash[LOOKED_ON]
    assert "at its end" not in request.node.name or begun.count(request.node.name) == 2

@pytest.mark.parametrize("how", ["in it", "at its end"])
def test_cut_off(watch, how):
    watch.dropped += begun.count(f"test_cut_off[{how}]") == 1
    assert how != "in it" or begun.count("test_cut_off[in it]") == 2

def test_not_loaded(watch):
    assert begun.count("test_not_loaded") == 3, "page.goto: net::ERR_NETWORK_CHANGED at http://127.0.0.1"

def test_wrong(watch):
    assert begun.count("test_wrong") > 1

def test_wrong_each_time(watch):
    watch.dropped += 1
    assert begun.count("test_wrong_each_time") > TIMES
"""


@pytest.mark.long
def test_what_the_machine_has_cost_is_done_anew(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "test_it.py").write_text(TESTS)
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path))
    forks = ("-p", "tests.beside.forks", "--forks", "1", str(tmp_path))  # as in `make test`, where reports travel
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(TREE)}
    done = subprocess.run((*command, *forks), cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    assert "2 failed, 3 passed, " in done.stdout, done.stdout + done.stderr
    assert f"{1 + 1 + 2 + 3} anew" in done.stdout
    assert (
        done.stdout.count("done anew, since the machine's network changed meanwhile: test_it.py::test_not_loaded") == 2
    )
    assert done.returncode == 1
