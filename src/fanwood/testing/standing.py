"""Where code stands, as far as it is a user's."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

_OURS = str(Path(__file__).resolve().parents[1])
_STDLIB = sysconfig.get_paths()["stdlib"]


def where(awaitable: Any) -> str:
    """The innermost line of a user's code in what is awaited."""
    place = ""
    while awaitable is not None:
        frame = next(
            (f for name in ("cr_frame", "gi_frame", "ag_frame") if (f := getattr(awaitable, name, None))), None
        )
        if frame is not None and is_theirs(frame.f_code.co_filename):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
        names = ("cr_await", "gi_yieldfrom", "ag_await")
        awaitable = next((a for name in names if (a := getattr(awaitable, name, None)) is not None), None)
    return place


def is_theirs(filename: str) -> bool:
    """Whether a file is a user's."""
    stdlib = filename.startswith(_STDLIB) and "site-packages" not in filename
    return not filename.startswith((_OURS, "<frozen")) and not stdlib
