"""A script's own worker processes: they execute what it starts, and end with it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fanwood import Fanwood, RunState, SettingsError
from fanwood.pooled import Refused, worker_for
from fanwood.worker import pool
from tests.faults.processes import SOURCE

SCRIPT = """\
import os, time
from fanwood import Fanwood

app = Fanwood(processes=2)

@app.task
def whoami(n: int) -> int:
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    return os.getpid()

@app.task
async def parent(n: int) -> list[int]:
    return await whoami.aio_run_many([whoami.create_bulk_run_item(i) for i in range(n)])

@app.task
def hold() -> None:
    print("holds", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    pids = set()
    while len(pids) < 2:  # the second process may take its time
        pids |= set(parent.run(12))
    assert set(parent.run(40)) == pids  # though each has a hundred slots
    print(os.getpid(), *pids, flush=True)
    hold.run()
"""


def start(folder: Path, url: str, text: str) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "FANWOOD_DATABASE_URL": url, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("store", "number"), [("sqlite", signal.SIGKILL), pytest.param("postgres", signal.SIGINT, marks=pytest.mark.long)]
)
def test_all_processes_work_and_end_with_their_script(
    request: pytest.FixtureRequest, tmp_path: Path, store: str, number: signal.Signals
) -> None:
    url = request.getfixturevalue("postgres_url") if store == "postgres" else f"sqlite:///{tmp_path}/fanwood.db"
    with start(tmp_path, url, SCRIPT) as script:
        assert script.stdout is not None
        script_pid, *pids = map(int, script.stdout.readline().split())
        assert len(pids) == 2
        assert script_pid == script.pid not in pids
        assert script.stdout.readline() == "holds\n"
        script.send_signal(number)
        said = script.stdout.read()  # to its end, which comes when the last of them has closed it
        assert said.count("Traceback") == (number == signal.SIGINT)
    with Fanwood(url, local_worker=False) as client:
        [held] = client.runs.list(task_name="hold")
        assert held.status is RunState.QUEUED
        assert held.attempt <= len(pids)  # whoever is not done yet may take what another has handed back


def test_a_script_without_a_guard_is_told_so_and_is_no_fork_bomb(tmp_path: Path) -> None:
    text = SCRIPT.replace("if __name__", "if 1 or __name__")
    with start(tmp_path, f"sqlite:///{tmp_path}/fanwood.db", text) as script:
        assert script.stdout is not None
        said = script.stdout.read()
    assert 'Put what it does as a program below `if __name__ == "__main__":`' in said.splitlines()[-1]
    assert said.count("Traceback") == 1
    assert script.returncode == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import sys\nsys.exit(3)", r"called sys.exit\(3\) when it was imported. Put what"),
        ("assert not 'alone', 'alone'", r"can't be imported: AssertionError: alone \(.*tasks_of_\w+.py, line 1\)"),
        ("", "does not declare nobody_declares_this when it is imported"),
    ],
)
def test_what_a_process_says_that_cannot_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    name = f"tasks_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("fanwood.pooled.all_homes", list)  # it is a new process, without what other tests have left
    about = {
        "prepare": {"authkey": ""},
        "modules": [name],
        "names": ["nobody_declares_this"],
        "settings": {},
        "own": True,
    }
    with pytest.raises(Refused, match=says):
        worker_for(about)


def test_tasks_at_a_prompt_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Fanwood(f"sqlite:///{tmp_path}/fanwood.db", processes=3)

    @app.task
    def square(n: int) -> int:
        return n * n

    monkeypatch.setattr(square.spec.function, "__module__", "__main__")
    monkeypatch.setattr(pool.spawn, "get_preparation_data", lambda name: {"authkey": b""})
    with pytest.raises(SettingsError, match=r"processes=3: .* written at a prompt, or in a notebook"):
        square.run(1)
    app.close()
