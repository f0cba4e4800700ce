"""Durations as people write them: a timedelta, a number of seconds, or text such as "90s", "5m", "1h30m"."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

from fanwood.clock import MICROSECONDS

Duration = timedelta | int | float | str

LONGEST = 36_500 * 86_400.0
"""A hundred years, in seconds: what is added to any time of ours is still a time that a store and a clock can hold."""

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d++(?:\.\d++)?)(us|ms|s|m|h|d)")


def parse(value: Any, longest: float = LONGEST) -> float:
    """`value` in seconds.

    Raises:
        ValueError: it is no duration, or one that can't be; says what one must be.
    """
    if isinstance(value, str):
        result = _read(value)
    elif isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        result = _finite(value)
    else:
        result = None
    if result is None:
        raise ValueError('must be a duration: seconds, a timedelta, or text such as "90s", "1h30m"')
    if result < 0:
        raise ValueError("must not be negative")
    if result > longest:
        raise ValueError("must be at most a hundred years (36,500 days)")
    if math.isnan(result):
        raise ValueError("must be a finite number of seconds")
    return result


def in_microseconds(seconds: float) -> int:
    """Seconds in the store's unit; not 0, which means at once."""
    return max(1, round(seconds * MICROSECONDS))


def _finite(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int beyond the range of a float
        return math.inf if value > 0 else -math.inf


def _read(text: str) -> float | None:
    compact = text.strip().replace(" ", "")
    total, at = 0.0, 0
    while part := _PART.match(compact, at):  # (from where the last one ended: however long it is, it is read once)
        total, at = total + float(part[1]) * _UNITS[part[2]], part.end()
    return total if at and at == len(compact) else None
