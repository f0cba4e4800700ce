"""What is found beside the tests fails them, and is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PLUGIN = """
import sys
from tests.beside import plugin
from tests.beside.plugin import *
plugin.COMMANDS = {{"nothing": (sys.executable, "-c", "pass"), "a program": (sys.executable, "-c", {program!r})}}
"""


@pytest.mark.parametrize(("program", "codes"), [("print('it fits')", {0}), ("exit('it does not fit')", {1, 2})])
def test_what_it_says_counts(tmp_path: Path, program: str, codes: set[int]) -> None:
    (tmp_path / "conftest.py").write_text(PLUGIN.format(program=program))
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path))
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # others take most of the time to be imported
    done = subprocess.run(command, cwd=TREE, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stdout + done.stderr
    assert "fit" in done.stdout.rpartition("a program ---")[2]
