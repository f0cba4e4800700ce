"""Which Python is the newest, and that nothing fails without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.beside import newest


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "PLACE", tmp_path / "newest")
    monkeypatch.setattr(newest, "STAMP", tmp_path / "newest" / "stamp")
    monkeypatch.setattr(newest.signal, "signal", lambda *_: None)


def fake(folder: Path, name: str, does: str) -> Path:
    python = folder / name
    python.write_text(f"#!/bin/sh\n{does}\n")
    python.chmod(0o755)
    return python


def test_the_newest_is_taken(tmp_path: Path) -> None:
    made = {
        name: fake(tmp_path, name, does)
        for name, does in {
            "same": "echo 3 11 9",
            "newer": "echo 3 12 1",
            "newest": "echo 3 13 0",
            "beta": "true",
            "broken": "exit 1",
        }.items()
    }
    assert newest.newest(iter([*made.values(), tmp_path / "missing"]), (3, 11, 7)) == made["newest"]
    assert newest.newest(iter([made["same"], made["beta"], made["broken"]]), (3, 11, 7)) is None
    assert newest.newest(iter(made.values()), (3, 13, 0)) is None


def test_without_one_it_is_skipped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(newest, "candidates", lambda: iter(()))
    assert newest.main() == 0
    assert capsys.readouterr().out.startswith("Skipped: there is no Python here that is newer than 3.")


def test_one_that_nothing_can_be_installed_for_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = fake(tmp_path, "python", '[ "$1" = -c ] && echo 4 0 0 || { echo no index >&2; exit 1; }')
    monkeypatch.setattr(newest, "candidates", lambda: iter([python]))
    assert newest.main() == 0
    assert capsys.readouterr().out == f"Skipped: the tests' packages could not be installed for {python}: no index\n"


def test_it_is_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(newest, "run", lambda *command: (calls.append(command), newest.PLACE.mkdir(exist_ok=True)))
    for python in ("one", "one", "other"):
        newest.prepare(Path(python))
    assert [command[0] for command in calls if "venv" in command] == ["one", "other"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_few_tests_with_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.beside.newest"], check=False, capture_output=True, text=True, timeout=890
    )
    assert not done.returncode, done.stdout + done.stderr


def test_its_tests_are_there() -> None:
    assert all((newest.TREE / test).is_file() for test in newest.TESTS)
