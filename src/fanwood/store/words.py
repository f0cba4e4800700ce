"""Counts and times as they are told to people."""

from __future__ import annotations


def are(count: int) -> str:
    """`no run is`, `1 run is`, `2 runs are`."""
    return "no run is" if count <= 0 else "1 run is" if count == 1 else f"{count:,} runs are"


def many(count: int, one: str, several: str | None = None) -> str:
    """`1 child`, `2 children`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


_UNITS = ((10, 1, 1, "s"), (120, 1, 0, "s"), (7200, 60, 0, "min"), (172_800, 3600, 1, "h"))


def lasting(microseconds: int) -> str:
    """`0.3 s`, `42 s`, `3 min`, `2.5 h`, `4 days`."""
    seconds = max(0, microseconds) / 1e6
    for limit, unit, digits, name in _UNITS:
        if seconds < limit:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{seconds / 86_400:.0f} days"
