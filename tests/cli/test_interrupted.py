"""Ctrl-C in the moments in which nobody thinks of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fanwood
from fanwood.cli import output
from tests.cli.conftest import Invoke, Stocked

LATE = "import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGINT)"
OUTSIDE = "import os, signal, fanwood.cli.main as it; it.cli = lambda prog_name: os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize(("moment", "code"), [(LATE, -signal.SIGINT), (OUTSIDE, 130)])
def test_before_a_command_and_after_it_there_is_no_traceback(moment: str, code: int):
    command = [sys.executable, "-c", f"{moment}\nfrom fanwood.cli.main import main; main()", "-V"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (code, "")


IMPORTED = """
import os, signal, sys
class Finder:
    module = sys.argv.pop(1)
    def find_spec(self, name, *_):
        if name == self.module:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from fanwood.cli.entry import main
main()
"""


@pytest.mark.parametrize(
    ("module", "said"), [("click", "Interrupted.\n"), ("fanwood.cli.main", "Interrupted.\n"), ("fanwood.cli.docs", "")]
)
def test_while_it_is_imported_there_is_no_traceback(module: str, said: str, tmp_path: Path):
    """Before a command begins one sentence, then what the command says."""
    command = [sys.executable, "-c", IMPORTED, module, "docs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (130, said, "")


def test_who_does_not_hear_it_is_not_ended_by_it():
    """Below `nohup`, or in the background of a shell's script."""
    ignoring = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{IMPORTED}"
    command = [sys.executable, "-c", ignoring, "click", "-V"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fanwood {fanwood.__version__}\n", "")


def test_before_it_is_heard_next_to_nothing_is_imported():
    """Else Python would tell of it, by a traceback."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    module = project["scripts"]["fanwood"].partition(":")[0]
    source = str(Path(fanwood.__file__).parents[1])
    program = (
        f"import os, sys; sys.path[:0] = [{source!r}]; there = set(sys.modules); import {module}\n"
        "print(*set(sys.modules) - there)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert set(done.stdout.split()) <= {"fanwood", "fanwood.handed", "__future__", "fanwood.cli", module}


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


@pytest.mark.parametrize(
    ("args", "place"),
    [
        (("ui", "--port", "0", "--no-open"), "fanwood.server.serving.serve"),
        (("docs", "--serve"), "fanwood.cli.reading.DocsServer.serve_forever"),
        (("mcp",), "fanwood.mcp.serving.serve"),
        (("top",), "fanwood.cli.looking.look"),
    ],
)
def test_what_goes_on_until_then_has_done_its_work(
    invoke: Invoke, stocked: Stocked, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], place: str
):
    stocked()
    monkeypatch.setattr(output, "on_terminal", lambda: True)

    def interrupted(*given: object, **_: object) -> None:
        for sock in given:
            if isinstance(sock, socket.socket):
                sock.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupted)
    assert invoke(*args).exit_code == 0
