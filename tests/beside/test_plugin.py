"""What is found beside the tests fails them, and is shown."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.beside.plugin import wait_no_more

TREE = Path(__file__).parents[2]
PLUGIN = """
import sys
from tests.beside import plugin
from tests.beside.plugin import *
plugin.COMMANDS = {{"nothing": (sys.executable, "-c", "pass"), "a program": (sys.executable, "-c", {program!r})}}
"""


@pytest.mark.long
@pytest.mark.parametrize(("program", "codes"), [("print('it fits')", {0}), ("exit('it does not fit')", {1, 2})])
def test_what_it_says_counts(tmp_path: Path, program: str, codes: set[int]) -> None:
    (tmp_path / "conftest.py").write_text(PLUGIN.format(program=program))
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path))
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # others take most of the time to be imported
    done = subprocess.run(command, cwd=TREE, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stdout + done.stderr
    assert "fit" in done.stdout.rpartition("a program ---")[2]


@pytest.mark.long
def test_what_does_not_end_is_ended(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        PLUGIN.format(program="import time; time.sleep(1000)") + "plugin.LONGEST = 0.1\n"
    )
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path))
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=TREE, env=alone, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "did not end within 0.1 s" in done.stdout


def test_what_is_done_beside_the_tests_is_no_test(tmp_path: Path) -> None:
    folder = tmp_path / "simulation"
    folder.mkdir()
    (tmp_path / "conftest.py").write_text(PLUGIN.format(program="pass"))
    (folder / "test_simulation.py").write_text("def test_worlds(): assert False\ndef test_a_day(): pass\n")
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path))
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=TREE, env=alone, capture_output=True, text=True, check=False)
    assert "1 passed, 1 deselected" in done.stdout, done.stdout + done.stderr


WORLDS = """
import sys
from tests.beside import worlds
worlds.let_all_others_go_first = lambda: None
sys.exit(worlds.main())
"""
"""As others, since somebody waits for these."""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_worlds_leave_nothing_behind_when_they_are_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", WORLDS], cwd=TREE, start_new_session=True)
    try:
        while not _of_session(process.pid) - {process.pid}:
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        assert process.wait(60) == 1
        deadline = time.monotonic() + 60
        while left := _of_session(process.pid):
            assert time.monotonic() < deadline, left
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux has it")
def test_worlds_let_all_others_go_first() -> None:
    said = (
        "import os; from tests.beside import worlds; worlds.let_all_others_go_first();"
        "print(os.getsid(0) == os.getpid(), os.sched_getscheduler(0) == os.SCHED_IDLE)"
    )
    for alone in (False, True):
        command = (sys.executable, "-c", said)
        done = subprocess.run(command, cwd=TREE, stdout=-1, text=True, start_new_session=alone, check=True)
        assert done.stdout == "True True\n"


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux has it")
def test_what_is_left_when_the_tests_have_ended_lets_nobody_go_first() -> None:
    program = (
        "import sys, threading, subprocess; from tests.beside import worlds; worlds.let_all_others_go_first();"
        "threading.Thread(target=input).start();"
        "subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen((sys.executable, "-c", program), cwd=TREE, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert _policies(process.pid) == {os.SCHED_IDLE}
            wait_no_more(process.pid)
            if os.geteuid() == 0:
                assert _policies(process.pid) == {os.SCHED_OTHER}
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _policies(session: int) -> set[int]:
    """Of all threads of its processes."""
    threads = [thread for pid in _of_session(session) for thread in Path(f"/proc/{pid}/task").iterdir()]
    assert len(threads) >= 3
    return {os.sched_getscheduler(int(thread.name)) for thread in threads}


def _of_session(number: int) -> set[int]:
    """Processes of a group that live."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = path.read_text().rpartition(") ")[2].split()[:3]
            if int(group) == number and state != "Z":
                found.add(int(path.parent.name))
    return found
