"""
What initdb makes, made once: it takes a second, and unpacking what it made before a twentieth of that.

It is kept in this environment, so that it goes when that goes; for each server, each user and each way to call initdb.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.postgres.binaries import Binaries
from tests.postgres.shelter import Shelter, which


def make_data(shelter: Shelter, binaries: Binaries, folder: Path, options: Sequence[str]) -> None:
    """`folder`, below the shelter's, as a new initdb leaves it."""
    tar, packed = which("tar"), _packed(binaries, options, shelter.account)
    if tar and packed.exists():
        shelter.run([tar, "-xf", "-"], packed.read_bytes())
        return
    shelter.run([binaries.path("initdb"), "--pgdata", str(folder), "--no-sync", *options])
    if tar:
        with tempfile.NamedTemporaryFile(dir=packed.parent, prefix=packed.name, delete=False) as new:
            new.write(shelter.run([tar, "-cf", "-", folder.name]))
        Path(new.name).replace(packed)  # as a whole: others may do the same at this moment


def _packed(binaries: Binaries, options: Sequence[str], account: str) -> Path:
    program = Path(binaries.path("initdb")).resolve()
    known = (str(program), program.stat().st_mtime_ns, *options, account, os.geteuid())
    return Path(sys.prefix) / f"initdb-{hashlib.sha256(repr(known).encode()).hexdigest()[:16]}.tar"
