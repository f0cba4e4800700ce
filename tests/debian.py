"""What tests need of Debian's and Ubuntu's packages: installed quietly, and without starting anything."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 300.0

_POLICY = Path("/usr/sbin/policy-rc.d")  # whether a package may start its service
_OPTIONS = ("-o", "Dpkg::Options::=--force-confold", "-o", "DPkg::Lock::Timeout=120")


class InstallationError(RuntimeError):
    """What the installer said, in short."""


def can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install_packages(*packages: str) -> None:
    with _nothing_started():
        run("apt-get", "-qq", "update")
        run("apt-get", "-qq", "install", "--yes", "--no-install-recommends", *_OPTIONS, *packages)


def run(*command: str) -> None:
    """A command that says nothing unless it fails. One that hangs, for want of a network, fails too."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise InstallationError(f"{command[0]} took more than {PATIENCE:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise InstallationError(f"{command[0]} ended with {done.returncode}: {' '.join(said)}")


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
