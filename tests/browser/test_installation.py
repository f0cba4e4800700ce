"""Which browser is taken, and what becomes of the tests where there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import debian
from tests.browser import installation


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One without a browser, whose packages can't be had either; programs in this folder are on its PATH."""
    for name in (installation.VARIABLE, installation.REQUIRED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(installation, "PLACES", ())
    return tmp_path


def program(folder: Path, name: str) -> str:
    file = folder / name
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return str(file)


def test_the_one_that_is_named_is_taken_and_no_other(machine: Path, monkeypatch: pytest.MonkeyPatch):
    program(machine, "chromium")
    monkeypatch.setenv(installation.VARIABLE, program(machine, "mine"))
    assert installation.find() == str(machine / "mine")

    (machine / "mine").unlink()
    with pytest.raises(installation.MissingBrowserError, match=f"{installation.VARIABLE}=.*mine"):
        installation.find()
    assert installation.main() == 1


@pytest.mark.parametrize("name", installation.NAMES)
def test_those_on_the_path_are_found(machine: Path, name: str):
    path = program(machine, name)
    assert installation.find() == path
    assert installation.main() == 0


def test_without_one_the_tests_are_skipped_unless_it_is_required(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert installation.main() == 0
    assert "will be skipped" in capsys.readouterr().out

    monkeypatch.setenv(installation.REQUIRED, "1")
    assert installation.main() == 1
    assert installation.VARIABLE in capsys.readouterr().out


@pytest.mark.parametrize(
    ("there", "packaged", "expected"),
    [
        ((), {installation.HEADLESS}, [installation.HEADLESS]),
        (("chromium",), {installation.HEADLESS}, [installation.HEADLESS]),  # it costs half as much
        ((), {"chromium"}, [installation.HEADLESS, "chromium"]),
        (("chromium",), set(), [installation.HEADLESS]),
        ((installation.HEADLESS,), set(), []),
    ],
)
def test_it_is_installed_where_it_can_be(
    machine: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], packaged: set[str], expected: list[str]
):
    asked: list[str] = []

    def install(*packages: str) -> None:
        asked.extend(packages)
        if not packaged.issuperset(packages):
            raise debian.InstallationError("there is no such package")
        for name in packages:
            program(machine, name)

    for name in there:
        program(machine, name)
    monkeypatch.setattr(installation, "can_install", lambda: True)
    monkeypatch.setattr(installation, "install_packages", install)
    assert installation.main() == 0
    assert asked == expected
    first = installation.HEADLESS if installation.HEADLESS in {*packaged, *there} else "chromium"
    assert installation.find() == str(machine / first)


def test_an_installation_that_hangs_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(debian, "PATIENCE", 0.1)
    with pytest.raises(debian.InstallationError, match="took more than"):
        debian.run(sys.executable, "-c", "import signal; signal.pause()")
