"""Who acts on a run, as those who look are told."""

from __future__ import annotations

import os
import socket

from fanwood import checks
from fanwood.ids import id_text
from fanwood.sdk.running.current import current_attempt


def who_acts(by: str | None) -> str:
    """As it was said, or else who calls."""
    return caller() if by is None else checks.storable(by, "by", checks.MAX_TEXT_LENGTH)


def caller() -> str:
    """Who acts, if nobody says so."""
    attempt = current_attempt.get()
    if attempt is not None:
        return f"{attempt.spec.name} {id_text(attempt.id)}"
    return f"process {os.getpid()} on {socket.gethostname()}"
