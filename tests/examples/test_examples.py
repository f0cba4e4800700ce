"""Every example, run as its reader would run it: `python examples/x.py`, with no server and no worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))

OUTPUT = {
    "agent": "found 709 in 10 turns: [500, 750, 625, 687, 718, 702, 710, 706, 708, 709]",
    "branches": """\
order 1: charged 250, packed
order 2: sent to a person""",
    "bulk": """\
1000 results
[0, '1 is odd', 4, '3 is odd'] ... [996004, '999 is odd']""",
    "cancellation": """\
parent was cancelled by request
children: ['CANCELLED', 'CANCELLED', 'CANCELLED', 'CANCELLED']""",
    "errors": """\
one:   invert raised ZeroDivisionError: division by zero
many:  ['1.0', 'TaskRunError', '0.25']
flaky: worked at try 3 of 4
final: no retry would help""",
    "fanout": "328350",
    "loop": "[6, 3, 10, 5, 16, 8, 4, 2, 1]",
    "metadata_and_keys": """\
plain: key=None priority=1 metadata={'customer': 'acme'}
named: key='second' priority=3 metadata={'customer': 'acme', 'step': 'two'}
the same key again is the same child: True
the same key with another input: refused""",
    "one_child": """\
async: Hello, Ada!
sync:  Hello, Grace!""",
    "recursion": """\
leaves: 64
10! = 3628800""",
    "worker_app": "{'a': 2, 'b': 2, 'c': 1}",
    "workflows": """\
one child: child 2: 4
with options: ['child 0: 0', 'child 1: 2', 'child 2: 4']
total: 6""",
}


def test_that_every_example_is_pinned_here():
    assert sorted(OUTPUT) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, tmp_path: Path):
    done = run_python(tmp_path, str(ROOT / "examples" / f"{name}.py"))
    assert done.stderr == ""
    assert done.stdout.rstrip("\n") == OUTPUT[name]
    assert done.returncode == 0


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "FANWOOD_DATABASE_URL": f"sqlite:///{folder / 'runs.db'}",
        "PYTHONPATH": str(ROOT / "src"),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )
