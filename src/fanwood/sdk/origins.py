"""Which program a task belongs to, as a number that its roots carry: the file that it is written in, in the upper half,
and a fingerprint of that file's contents in the lower one. 0: nobody knows."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

from fanwood.sdk.signatures import code_of

BITS = 32
"""Of the lower half."""


def origin_of(function: Any) -> int:
    """Of a function, inside what was put around it."""
    code = getattr(code_of(function), "__code__", None)
    return 0 if code is None else origin_of_file(code.co_filename)


@functools.cache
def origin_of_file(name: str) -> int:
    """Of what is written in a file; or in a cell of a notebook, or at a prompt, which belong to that notebook, or to
    this working directory."""
    path = Path(name)
    try:
        place, contents = str(path.resolve(strict=True)), path.read_bytes()
    except (OSError, ValueError):
        place, contents = os.environ.get("JPY_SESSION_NAME") or f"at a prompt in {Path.cwd()}", b""
    return (_digest(place.encode("utf-8", "surrogateescape")) >> 1 << BITS) | (_digest(contents) if contents else 0)


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "big")
