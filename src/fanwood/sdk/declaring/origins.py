"""Which program a task belongs to, as a number that its roots carry: of the file that it is written in. And which
version of it, as a number that who serves it publishes: of that file's contents. 0: nobody knows."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanwood.sdk.declaring.functions import code_of
from fanwood.sdk.declaring.spec import NOWHERE, Origin

if TYPE_CHECKING:
    from types import FrameType


def origin_of(function: Any) -> Origin:
    """Of a function, inside what was put around it."""
    code = getattr(code_of(function), "__code__", None)
    return NOWHERE if code is None else origin_of_file(code.co_filename)


def origin_of_caller(frame: FrameType | None) -> Origin:
    """Of the code that called the function with this frame."""
    return NOWHERE if frame is None or frame.f_back is None else origin_of_file(frame.f_back.f_code.co_filename)


@functools.cache
def origin_of_file(name: str) -> Origin:
    """Of what is written in a file; or in a cell of a notebook, or at a prompt, which belong to that notebook, or to
    this working directory, and have no version."""
    path = Path(name)
    try:
        place, contents = str(path.resolve(strict=True)), path.read_bytes()
    except (OSError, ValueError):
        place, contents = os.environ.get("JPY_SESSION_NAME") or f"at a prompt in {Path.cwd()}", b""
    return Origin(_digest(place.encode("utf-8", "surrogateescape")), _digest(contents) if contents else 0)


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "big") >> 1
