"""Durations as people write them: a timedelta, a number of seconds, or text such as "90s", "5m", "1h30m"."""

from __future__ import annotations

import re
from datetime import timedelta

from fanwood.clock import MICROSECONDS
from fanwood.errors import SettingsError

Duration = timedelta | int | float | str

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")


def seconds(value: Duration, subject: str) -> float:
    """`value` in seconds.

    Raises:
        SettingsError: it isn't a duration, or not above zero; `subject` says of what.
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        result = _parse(value, subject)
    else:
        result = float(value)
    if not result > 0 or result == float("inf"):
        raise SettingsError(f"{subject} must be above zero and finite, and is {value!r}")
    return result


def microseconds(value: Duration | None, subject: str) -> int | None:
    """`value` in the store's unit; None stays None."""
    return None if value is None else max(1, round(seconds(value, subject) * MICROSECONDS))


def _parse(text: str, subject: str) -> float:
    compact = text.strip().replace(" ", "")
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise SettingsError(
            f'{subject}: {text!r} is not a duration; write seconds, a timedelta, or e.g. "90s", "1h30m"'
        )
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
