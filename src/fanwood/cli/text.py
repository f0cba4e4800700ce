"""Values as people read them. What users and their programs wrote is shown without its control characters."""

from __future__ import annotations

import re

from fanwood.clock import MICROSECONDS, moment

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC and its like: titles, links
    r"|\x1b[ -/]*[0-~]",  # the short ones
    re.DOTALL,
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SPACES = re.compile(r"\s+")


def clean_block(text: str) -> str:
    """Text of several lines that can do nothing to a terminal."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def clean(text: str, limit: int = 300) -> str:
    """As `clean_block`, in one line."""
    line = _SPACES.sub(" ", clean_block(_SPACES.sub(" ", text))).strip()
    if len(line) <= limit:
        return line
    return f"{line[: limit - 3]}..." if limit > 3 else line[: max(0, limit)]


def columns(line: str) -> int:
    """How many columns of a terminal it takes: some signs have two, and some none."""
    if line.isascii():
        return len(line)
    from rich.cells import cell_len  # what prints to no terminal begins sooner without

    return cell_len(line)


def fitted(text: str, width: int) -> str:
    """As `clean`, in so many columns."""
    line = clean(text, max(300, width))
    if line.isascii() or columns(line) <= width:
        return clean(line, width)
    from rich.cells import set_cell_size  # as above

    return f"{set_cell_size(line, width - 3).rstrip()}..." if width > 3 else set_cell_size(line, max(0, width))


def took(microseconds: int | None) -> str:
    """How long something took: `850 us`, `1.2 ms`, `12 ms`, `3.2 s`, `4m 05s`, `2h 10m`."""
    if microseconds is None:
        return ""
    if microseconds < 1000:
        return f"{max(0, microseconds)} us"
    if microseconds < MICROSECONDS:
        return f"{microseconds / 1000:.1f} ms" if microseconds < 9_950 else f"{microseconds / 1000:.0f} ms"
    if microseconds < 60 * MICROSECONDS:
        return f"{microseconds / MICROSECONDS:.1f} s"
    whole = microseconds // MICROSECONDS
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def age(microseconds: int) -> str:
    """As `took`, in one unit: `12s`, `4m`, `2h`, `3d`."""
    whole = max(0, microseconds) // MICROSECONDS
    for limit, unit, seconds in ((100, "s", 1), (6000, "m", 60), (172_800, "h", 3600)):
        if whole < limit:
            return f"{whole // seconds}{unit}"
    return f"{whole // 86400:,}d"


def size(count: int) -> str:
    """Bytes: `812 B`, `1.4 MB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.95 or unit == "TB":
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def many(count: int, one: str, several: str | None = None) -> str:
    """`1 run`, `1,000 runs`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def instant(microseconds: int | None) -> str | None:
    """A time of the store in ISO 8601, UTC."""
    if microseconds is None:
        return None
    return moment(microseconds).isoformat(timespec="milliseconds")


def local_time(microseconds: int | None) -> str:
    """A time of the store on this machine's clock face."""
    if microseconds is None:
        return ""
    return moment(microseconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock_time(microseconds: int, now: int) -> str:
    """As `local_time`, without the date if that is today's."""
    whole, today = local_time(microseconds), local_time(now)[:10]
    return whole.removeprefix(f"{today} ")
