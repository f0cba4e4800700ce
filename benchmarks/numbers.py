"""What measurements yield."""

import statistics
from collections.abc import Sequence

Figures = dict[str, float]


def percentiles(seconds: Sequence[float], prefix: str = "") -> Figures:
    """In milliseconds."""
    ordered = sorted(seconds)
    return {
        f"{prefix}p50": statistics.median(ordered) * 1e3,
        f"{prefix}p99": ordered[int(len(ordered) * 0.99)] * 1e3,
    }
