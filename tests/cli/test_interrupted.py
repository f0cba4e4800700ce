"""Ctrl-C in the moments in which nobody thinks of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from fanwood.cli import output

LATE = "import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGINT)"
OUTSIDE = "import os, signal, fanwood.cli.main as it; it.cli = lambda prog_name: os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize(("moment", "code"), [(LATE, -signal.SIGINT), (OUTSIDE, 130)])
def test_before_a_command_and_after_it_there_is_no_traceback(moment: str, code: int):
    command = [sys.executable, "-c", f"{moment}\nfrom fanwood.cli.main import main; main()", "-V"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize(
    ("arguments", "first"), [(["demo", "."], "Counting"), (["demo", "--runs", "2000"], "A tree of 2,000 runs")]
)
def test_a_demo_that_has_just_said_its_run_cancels_it(
    invoke, monkeypatch: pytest.MonkeyPatch, arguments: list[str], first: str
):
    note = output.note

    def interrupted(text: str) -> None:
        note(text)
        if text.startswith(first):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(output, "note", interrupted)
    result = invoke(*arguments, "--processes", "1")
    assert result.exit_code == 130
    lines = result.stderr.splitlines()
    assert lines[0].startswith(first)
    assert lines[-1].startswith("Cancelled.")
