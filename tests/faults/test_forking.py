"""Processes that are forks of one that has imported everything: they are as if they had been started anew."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.faults.processes import AppProcess

PROGRAM = """
import json, os, sys
print("to the log", file=sys.stderr)
print(json.dumps([__name__, sys.argv[1:], os.getppid(), dict(os.environ), sys.path[0], os.listdir("/proc/self/fd")]))
said = sys.stdin.readline().strip()
if said == "raise":
    raise RuntimeError("no")
sys.exit(int(said))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    return program


@pytest.mark.parametrize(("say", "code"), [("0", 0), ("7", 7), ("raise", 1), ("", -signal.SIGINT)])
def test_it_is_a_child_of_ours_and_has_what_it_was_given(program: Path, say: str, code: int):
    environment = {"PATH": os.environ["PATH"], "ONLY": "this"}
    process = AppProcess(["a", "b"], environment, program.with_suffix(".log"), (sys.executable, "-u", str(program)))
    try:
        name, arguments, parent, given, path, files = json.loads(process.line())
        assert (name, arguments, parent) == ("__main__", ["a", "b"], os.getpid())
        assert {key: given[key] for key in environment} == environment
        assert set(given) - {"LC_CTYPE"} == set(environment)
        assert path == str(program.parent)
        assert len(files) <= 5, "of its own, with the one that lists them"
        if say:
            process.say(say)
        else:
            process.signal(signal.SIGINT)
        assert process.wait() == code
        assert process.log.startswith("to the log\n")
        assert ("RuntimeError: no" in process.log) == (say == "raise")
    finally:
        process.dispose()
