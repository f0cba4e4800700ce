"""`fanwood demo --runs`, and the dashboard beside a demo."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

LINK = re.compile(rb"In a browser: (?:\x1b\[[0-9;]*m)*(http://127\.0\.0\.1:\d+/)(t/[0-9a-f-]{36})#token=[\w-]{20,}")


def test_a_tree_has_the_size_that_was_asked_for_and_something_of_everything(program):
    result = program("demo", "--runs", "1500", "--processes", "1", "--json")

    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["status"], report["runs"]) == ("COMPLETED", 1500)
    assert report["completed"] + report["failed"] == 1500
    assert {kind["type"] for kind in report["failures"]} == {"ValueError", "TimeoutError", "KeyError"}
    assert sum(kind["count"] for kind in report["failures"]) == report["failed"]


@pytest.mark.parametrize("runs", [2, 400])
def test_also_small_ones(program, runs: int):
    report = json.loads(program("demo", "--runs", str(runs), "--processes", "1", "--json").stdout)
    assert report["runs"] == runs


def test_sizes_that_cannot_be(invoke):
    for runs in ("1", "10000001"):
        result = invoke("demo", "--runs", runs)
        assert (result.exit_code, result.stderr) == (2, "error: --runs must be from 2 to 10,000,000\n")


def test_in_a_pipe_it_says_which_command_opens_the_tree(program, invoke):
    last = program("demo", "--runs", "10", "--processes", "1", "--ui").stdout.splitlines()[-1]
    assert re.fullmatch(r"In a browser: fanwood ui [0-9a-f-]{36}", last)


@pytest.mark.long
def test_on_a_terminal_it_ends_with_a_link_that_opens_the_tree(here: Path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fanwood", "demo", "--runs", "10", "--processes", "1", "--ui"]
    process = subprocess.Popen(command, cwd=here, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        said = b""
        while b"until Ctrl-C" not in said:  # (before that it cancels the tree)
            said += os.read(ours, 65536)
        found = LINK.search(said)
        assert found is not None
        url, page = found[1].decode(), found[2].decode()
        with urllib.request.urlopen(url + page) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{url}healthz")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
