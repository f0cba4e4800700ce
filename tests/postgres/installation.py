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
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.postgres.binaries import ADVICE, INSTALLED, VARIABLE, MissingBinariesError, find
from tests.postgres.shelter import which

LOCK = Path(__file__).with_name("server.lock")
EXTRAS = {"pgbouncer": "pgbouncer", "ip": "iproute2"}  # the program, and Debian's package of it

_POLICY = Path("/usr/sbin/policy-rc.d")  # whether a package may start its service
_NEW_CLUSTERS = Path("/etc/postgresql-common/createcluster.conf")  # whether Debian's makes one of its own


class InstallationError(RuntimeError):
    """What the installer said, in short."""


def main() -> int:
    by_packages = os.geteuid() == 0 and shutil.which("apt-get") is not None
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
            _install_packages(*missing)
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
    _install_packages("postgresql-common")
    with _added(_NEW_CLUSTERS, "\ncreate_main_cluster = false\n"):
        _install_packages("postgresql")


def _install_packages(*packages: str) -> None:
    with _nothing_started():
        _run("apt-get", "-qq", "update")
        options = ("-o", "Dpkg::Options::=--force-confold", "-o", "DPkg::Lock::Timeout=120")
        _run("apt-get", "-qq", "install", "--yes", "--no-install-recommends", *options, *packages)


@contextlib.contextmanager
def _nothing_started() -> Iterator[None]:
    """As Debian's policy asks it: 101 is "no"."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


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
    _run(*pip, "--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", str(INSTALLED), "-r", str(LOCK))


# --- behind the scenes ------------------------------------------------------------------------------------------------


def _run(*command: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise InstallationError(f"{command[0]} ended with {done.returncode}: {' '.join(said)}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
