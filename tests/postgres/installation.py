"""
Sees to it that there is a PostgreSQL server to test with; `make test` runs it.

It does nothing where there is one. Else, as root on Debian and Ubuntu it is taken from the system's packages, without
starting anything; for everybody else from a locked wheel, into the environment of the tests. What only a few tests
need comes along where that is easy; elsewhere they say that they were skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.debian import InstallationError, can_install, install_packages, run
from tests.postgres.binaries import ADVICE, INSTALLED, VARIABLE, MissingBinariesError, find
from tests.postgres.shelter import which

LOCK = Path(__file__).with_name("server.lock")
EXTRAS = {"pgbouncer": "pgbouncer", "ip": "iproute2"}  # the program, and Debian's package of it

_NEW_CLUSTERS = Path("/etc/postgresql-common/createcluster.conf")  # whether Debian's makes one of its own


def main() -> int:
    by_packages = can_install()
    try:
        there = _server_is_there() or _install_server(by_packages)
    except MissingBinariesError as error:  # FANWOOD_TEST_PG_BIN names the wrong ones
        print(error, file=sys.stderr)
        return 1
    if not there:
        print(f"The tests need a PostgreSQL server, and it could not be installed: {ADVICE}", file=sys.stderr)
        return 1
    missing = [package for program, package in EXTRAS.items() if which(program) is None]
    if missing and by_packages:
        _say(f"Installing {' and '.join(missing)} for a few tests ...")
        try:
            install_packages(*missing)
        except InstallationError as error:
            _say(f"That failed, and tests that need it are skipped: {error}")
    return 0


def _server_is_there() -> bool:
    try:
        find()
    except MissingBinariesError:
        if os.environ.get(VARIABLE):
            raise
        return False
    return True


def _install_server(by_packages: bool) -> bool:
    if by_packages:
        _say("Installing a PostgreSQL server to test with, from the system's packages ...")
        if _succeeds(_install_server_package):
            return True
    _say(f"Installing a PostgreSQL server to test with, into {INSTALLED} ...")
    return _succeeds(_install_wheel)


def _succeeds(install: Callable[[], None]) -> bool:
    """Whether there is a server afterwards; if there isn't, why is said."""
    try:
        install()
        find()
    except (InstallationError, MissingBinariesError, OSError) as error:
        _say(f"That failed: {error}")
        return False
    return True


# --- the system's packages --------------------------------------------------------------------------------------------


def _install_server_package() -> None:
    install_packages("postgresql-common")
    with _added(_NEW_CLUSTERS, "\ncreate_main_cluster = false\n"):
        install_packages("postgresql")


@contextlib.contextmanager
def _added(path: Path, text: str) -> Iterator[None]:
    before = path.read_text()
    path.write_text(before + text)
    try:
        yield
    finally:
        path.write_text(before)


# --- the wheel --------------------------------------------------------------------------------------------------------


def _install_wheel() -> None:
    """Without what it depends on: that is for its Python part, and only its programs are used."""
    shutil.rmtree(INSTALLED, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    run(*pip, "--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", str(INSTALLED), "-r", str(LOCK))


# --- behind the scenes ------------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
