"""What stands in the table of settings, and what is said if somebody has spoilt that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fanwood.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECRET = re.compile(r"[0-9A-Za-z_-]{32,}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_TOLD = re.compile(r"([0-9]{1,18}) ([0-9]{1,18})")
_SPOILT = "the setting {!r} of the database is spoilt (table `setting`): {}"
NO_SECRET = _SPOILT.format(
    "secret",
    "no token of a promise can be made, or be told from a forged one. Put back what a backup has there. Without one "
    "write 64 random hexadecimal digits there, and give promises whose tokens were handed out their values by "
    "`fanwood runs patch`",
)


def checked_secret(secret: str) -> str:
    """What tokens of promises are made with.

    Raises:
        StoreError: it is what nobody would have to guess.
    """
    if _SECRET.fullmatch(secret) is None:
        raise StoreError(NO_SECRET[0].upper() + NO_SECRET[1:])
    return secret


def turn(value: str) -> tuple[int, int] | None:
    """How far hooks were told of failures, and until when somebody has the turn; None if it can't be read."""
    found = _TOLD.fullmatch(value)
    return None if found is None else (int(found[1]), int(found[2]))


def problems(rows: Iterable[Any]) -> list[str]:
    """What is wrong with these rows of the table (name, value)."""
    there = {str(name): str(value) for name, value in rows}
    found: list[str] = []
    if _SECRET.fullmatch(there.get("secret", "")) is None:
        found.append(NO_SECRET)
    for name, what in (("number", "events and waits are"), ("members", "changes of workers are")):
        if name in there and _NUMBER.fullmatch(there[name]) is None:
            found.append(_SPOILT.format(name, f"the next time that {what} counted it is put right"))
    for name, value in there.items():
        if name.startswith("told:") and turn(value) is None:
            found.append(
                _SPOILT.format(name, "hooks are told of failures from the next look on, and not of those before")
            )
    return found
