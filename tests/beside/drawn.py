"""Examples that are drawn at random take nothing from the source, in `make test` (`-p tests.beside.drawn`).

Hypothesis reads all modules of the package for numbers and texts that may matter; in a new clone that takes as long as
a thousand tests do. Whoever names a file to pytest has it so, and so has `make chaos`.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)  # before hypothesis' own
def pytest_collection_modifyitems() -> None:
    if "hypothesis" in sys.modules:
        from hypothesis.internal.conjecture import providers

        providers.is_local_module_file = _is_not  # type: ignore[attr-defined]


def _is_not(_: Any) -> bool:
    return False
