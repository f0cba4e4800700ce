"""What is drawn in `make test` has nothing from the source."""

from __future__ import annotations

import pytest
from hypothesis.internal.conjecture import providers

from tests.beside import drawn


def test_no_module_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "is_local_module_file", lambda _: True)
    monkeypatch.setattr(providers, "_sys_modules_len", None)
    monkeypatch.setattr(providers, "_seen_modules", set())
    monkeypatch.setattr(providers, "constants_from_module", lambda module: pytest.fail(f"{module} is read"))
    drawn.pytest_collection_modifyitems()
    providers._get_local_constants()
