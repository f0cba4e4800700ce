"""Where on this machine the programs of a PostgreSQL server are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "FANWOOD_TEST_PG_BIN"
OLDEST = 14

# Debian and Ubuntu; Fedora and its kin; from source; Homebrew on both kinds of Mac; Postgres.app; MacPorts.
_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/opt/local/lib/postgresql*/bin",
)

# Into this environment, so that they go when it goes; tests/postgres/installation.py puts them there.
INSTALLED = Path(sys.prefix) / "postgres"


ADVICE = (
    "install PostgreSQL's server (Debian, Ubuntu: apt install postgresql; Fedora: dnf install postgresql-server; "
    f"macOS: brew install postgresql@17), or name the folder of its programs: {VARIABLE}=/path/to/bin"
)


class MissingBinariesError(RuntimeError):
    """There are none, or those that were named are not what they should be."""


@dataclass(frozen=True)
class Binaries:
    folder: Path
    version: int  # the major one

    def path(self, program: str) -> str:
        return str(self.folder / program)


def find() -> Binaries:
    """What FANWOOD_TEST_PG_BIN names, and nothing else; without it the first that does, the newest of a kind first."""
    if named := os.environ.get(VARIABLE):
        if binaries := _binaries(Path(named)):
            return binaries
        raise MissingBinariesError(
            f"{VARIABLE}={named}: no initdb and postgres of PostgreSQL {OLDEST} or newer are there that can be run. "
            f"Name the folder that holds both, or unset {VARIABLE}."
        )
    for folder in _candidates():
        if binaries := _binaries(folder):
            return binaries
    raise MissingBinariesError(
        f"No initdb and postgres of PostgreSQL {OLDEST} or newer are on the PATH, in {', '.join(_PLACES)} or "
        f"{INSTALLED}. `make test` installs them. Or {ADVICE}"
    )


def _candidates() -> Iterator[Path]:
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    for place in _PLACES:
        root = Path("/")
        yield from sorted(root.glob(place.removeprefix("/")), key=_numbers, reverse=True)
    yield from INSTALLED.glob("*/pginstall/bin")


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _binaries(folder: Path) -> Binaries | None:
    programs = [folder / "initdb", folder / "postgres"]
    if not all(os.access(program, os.X_OK) for program in programs):
        return None
    try:
        said = subprocess.run([programs[1], "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):  # built for another machine, say
        return None
    version = re.search(r"\) (\d+)", said)
    return Binaries(folder, int(version[1])) if version and int(version[1]) >= OLDEST else None
