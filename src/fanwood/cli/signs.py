"""Signs that a terminal can't show, such as rich's in a locale without Unicode."""

from __future__ import annotations

import codecs
from typing import cast

_SIGNS = {
    "\u2026": ">", "\u2022": "*", "\u00b7": ".", "\u2192": ">", "\u2013": "-", "\u2500": "-", "\u2501": "-",
    "\u2502": "|", "\u2503": "|", "\u258c": "|", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
}  # fmt: skip
"""What is shown instead; each has one column."""
ERRORS = "fanwood"
"""The name by which a stream knows what to do with them."""


def instead(error: UnicodeError) -> tuple[str | bytes, int]:
    """A sign of those above in ASCII; of anything else its number."""
    failed = cast("UnicodeEncodeError", error)
    if (sign := _SIGNS.get(failed.object[failed.start])) is not None:
        return sign, failed.start + 1
    signs = (at for at in range(failed.start, failed.end) if failed.object[at] in _SIGNS)
    failed.end = next(signs, failed.end)
    return codecs.backslashreplace_errors(failed)


codecs.register_error(ERRORS, instead)
