"""Whatever stands in the environment: a setting is what it says, or it is refused by its name."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import pytest

from fanwood import Fanwood
from fanwood.errors import SettingsError
from fanwood.settings import Settings

HOSTILE = [
    "nan", "NaN", "inf", "-inf", "Infinity", "-1", "-0", "0", "0x10", "1_000", "1e3", "1e400", "1.5", str(2**31),
    str(2**63), str(2**64), "9" * 400, "9" * 5000, " ", " 7 ", "\t", "soon", "yes", "None", "[]", "{}", "a/b", "a b",
    "\x1b[31m", "é", "\u0663", "\u202e", "x" * 300, "x" * 1_000_000, "[" * 10_000, "postgresql://",
    "postgresql://u:p@h:99999/d", "mysql://h/d", "sqlite://", "sqlite:///", "sqlite:///\udcff", "\udcff", "http://[",
    "memory:?x",
]  # fmt: skip


@pytest.mark.parametrize("name", [each.name for each in fields(Settings)])
def test_each_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"FANWOOD_{name.upper()}"
    for text in HOSTILE:
        monkeypatch.setenv(variable, text)
        assert os.environ[variable] == text
        made, said = _made()
        if said is None:
            assert type(getattr(made, name)) in (str, bool, int, float)
        else:
            assert name in said.lower() or variable in said or name.endswith("url"), (text, said)
            assert len(said) < 600, (text[:50], said[:700])
            assert said.isprintable(), (text, said)


def _made() -> tuple[Any, str | None]:
    try:
        return Fanwood().settings, None
    except SettingsError as error:
        return None, str(error)
