"""What was in order is looked at again as soon as anything is another, and what wasn't is always."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.beside import types


def test_it_is_asked_again_when_something_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    source, rules = tmp_path / "src" / "package" / "module.py", tmp_path / types.RULES[0]
    source.parent.mkdir(parents=True)
    for path in (source, *(tmp_path / name for name in types.RULES)):
        path.write_text("")
    monkeypatch.setattr(types, "TREE", tmp_path)
    monkeypatch.setattr(types.signal, "signal", lambda *_: None)
    monkeypatch.setattr(types, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(types, "COMMAND", ("/bin/sh", "-c", 'touch "$0"; ! grep -qr wrong src', str(asked)))

    def look() -> tuple[int, bool]:
        asked.unlink(missing_ok=True)
        return types.main(), asked.exists()

    source.write_text("wrong")
    assert [look(), look()] == [(1, True), (1, True)]
    source.write_text("right")
    assert [look(), look()] == [(0, True), (0, False)]
    rules.write_text("another rule")
    assert [look(), look()] == [(0, True), (0, False)]
    source.rename(source.with_name("other.py"))
    assert [look(), look()] == [(0, True), (0, False)]
    source.with_name("other.py").write_text("wrong")
    assert [look(), look()] == [(1, True), (1, True)]
