"""Every example, run as its reader would run it: `python examples/x.py`, with no server and no worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fanwood import Fanwood, RunState
from tests.docs.processes import Process
from tests.faults import forking

ROOT = Path(__file__).resolve().parents[2]
WITH_PROCESSES_OF_THEIR_OWN = {"all_cores"}
SAYS_WHAT_CAME_LATE = {"search"}
"""What ends while it is cancelled is refused, and a line says so."""
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))

OUTPUT = {
    "agent": "found 709 in 10 turns: [500, 750, 625, 687, 718, 702, 710, 706, 708, 709]",
    "agent_loop": "Together 1008000 people live there. (Atlantis: KeyError: 'Atlantis')",
    "agents": """\
A person is asked: buy a cake?
I found out that a cake is 30 euros; the gambler ended with BudgetExceeded; and the person said yes.""",
    "all_cores": "[4, 25, 168, 1229]",
    "branches": """\
order 1: charged 250, packed
order 2: sent to a person""",
    "bulk": """\
1000 results
[0, '1 is odd', 4, '3 is odd'] ... [996004, '999 is odd']""",
    "cancellation": """\
parent was cancelled by request
children: ['CANCELLED', 'CANCELLED', 'CANCELLED', 'CANCELLED']""",
    "crawler": """\
7 pages: / /about /news /news/1 /news/2 /shop /shop/cakes
asked for more than once: []; gone: tried 3 times""",
    "errors": """\
one:   invert raised ZeroDivisionError: division by zero
many:  ['1.0', 'TaskRunError', '0.25']
flaky: worked at try 3 of 4
final: no retry would help""",
    "fanout": "328350",
    "files": """\
79600 words in 201 files
failed: photo.txt is no text""",
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
    "search": """\
found: 02
most rooms were never looked into: True""",
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
    assert done.stderr == "" or name in SAYS_WHAT_CAME_LATE
    assert done.stdout.rstrip() == OUTPUT[name]
    assert done.returncode == 0


def test_files_of_a_folder_are_read_once(tmp_path: Path):
    """What has been done is found, not done again."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("one two")
    first, second = (run_python(tmp_path, str(ROOT / "examples" / "files.py"), str(folder)) for _ in range(2))
    assert first.stdout == second.stdout == "2 words in 1 files\n"
    with Fanwood(f"sqlite:///{tmp_path / 'runs.db'}", local_worker=False) as app:
        assert len(app.runs.list()) == 1


@pytest.mark.long
def test_the_web_application():
    """Its own tests, as its developers would run them."""
    pytest.importorskip("fastapi", reason="make setup installs it")
    done = run_python(ROOT, "-m", "pytest", "examples/web", "-q", "-n", "0", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout


IMPORTS = "import json\nimport os\nimport signal"
COUNTED = """
real = model
asked = []


def model(agent, messages):
    asked.append(f"{agent} turn {sum(message['role'] == 'assistant' for message in messages)}")
    with open("asked.txt", "a") as file:
        print(asked[-1], file=file)
    if len(asked) == int(os.environ.get("KILL_AT", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(agent, messages)


"""


@pytest.mark.long
def test_that_a_killed_agent_asks_for_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever is recorded when it is killed, the next process does not ask the model for."""
    text, main = (ROOT / "examples" / "agents.py").read_text(), 'if __name__ == "__main__":'
    (tmp_path / "agents.py").write_text(text.replace(main, f"{COUNTED}{main}").replace("import json", IMPORTS))
    known, asked = set[str](), list[list[str]]()
    for kill_at in (7, 3, 0):
        monkeypatch.setenv("KILL_AT", str(kill_at))
        done = run_python(tmp_path, "agents.py", alone=True)
        asked.append((tmp_path / "asked.txt").read_text().splitlines())
        (tmp_path / "asked.txt").unlink()
        assert known.isdisjoint(asked[-1])
        assert done.returncode == (-signal.SIGKILL if kill_at else 0), done.stderr
        with Fanwood(f"sqlite:///{tmp_path / 'runs.db'}", local_worker=False) as app:
            runs = {run.id: run for run in app.runs.list(all_runs=True, limit=1000)}
        assert len(runs) > 10
        known |= {
            f"{runs[str(run.parent_id)].task_name} {run.child_key}"
            for run in runs.values()
            if run.task_name == "~step" and run.status is RunState.COMPLETED
        }
    assert len(asked[0]) == 7
    assert len(asked[1]) == 3
    assert done.stdout.splitlines()[-1].rstrip() == OUTPUT["agents"].splitlines()[-1]


def test_worker_app_in_a_worker_process(tmp_path: Path):
    """A worker of its own executes what `fanwood run` starts; the client has none of the code."""
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    worker = Process(ROOT, "-m", "fanwood", "worker", "examples.worker_app:fanwood", "--url", url)
    try:
        worker.wait_for("serves 2 task(s)")
        done = run_python(tmp_path, "-m", "fanwood", "run", "word_counts", "--input", '{"texts": ["a b a", "b c"]}')
    finally:
        worker.kill(signal.SIGTERM)
        worker.end()
    assert json.loads(done.stdout) == {"a": 2, "b": 2, "c": 1}
    assert done.returncode == 0


def test_worker_app_with_its_code_beside_it(tmp_path: Path):
    """Without a worker, `--app` executes it in the command itself."""
    arguments = ("run", "word_counts", "--app", "worker_app:fanwood", "--input", '{"texts": ["x"]}', "--watch")
    (tmp_path / "worker_app.py").write_text((ROOT / "examples" / "worker_app.py").read_text())
    done = run_python(tmp_path, "-m", "fanwood", *arguments)
    assert json.loads(done.stdout) == {"x": 1}, done.stderr
    assert done.returncode == 0


def run_python(folder: Path, *arguments: str, alone: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "FANWOOD_DATABASE_URL": f"sqlite:///{folder / 'runs.db'}",
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONWARNINGS": "error",
    }
    script, *more = (forking.COMMAND, *arguments[2:]) if arguments[:2] == ("-m", "fanwood") else arguments
    if Path(script).suffix and not alone and Path(script).stem not in WITH_PROCESSES_OF_THEIR_OWN:
        return forking.run([script, *more], environment, folder)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=500,
        check=False,
    )
