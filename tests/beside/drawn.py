"""Examples that are drawn at random cost little before the first is drawn, in `make test` (`-p tests.beside.drawn`).

Hypothesis reads all modules of the package for numbers and texts that may matter; in a new clone that takes as long as
a thousand tests do. And it finds out by trying which characters UTF-8 has, in each process. Whoever names a file to
pytest has it so, and so has `make chaos`.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

UTF_8 = ((0, 0xD7FF), (0xE000, 0x10FFFF))
"""The characters that it has: all but surrogates, and each is read as it was written."""


@pytest.hookimpl(tryfirst=True)  # before hypothesis' own
def pytest_collection_modifyitems() -> None:
    if "hypothesis" in sys.modules:
        from hypothesis.internal import charmap
        from hypothesis.internal.conjecture import providers
        from hypothesis.internal.intervalsets import IntervalSet

        by_trying = charmap.intervals_from_codec

        def intervals_from_codec(codec_name: str) -> tuple[IntervalSet, IntervalSet]:
            return (IntervalSet(UTF_8), IntervalSet(())) if codec_name == "utf-8" else by_trying(codec_name)

        charmap.intervals_from_codec = intervals_from_codec
        providers.is_local_module_file = _is_not  # type: ignore[attr-defined]


def _is_not(_: Any) -> bool:
    return False
