"""What was in order is looked at again as soon as anything is another, and what wasn't is always."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.beside import types

pytestmark = pytest.mark.long


def test_it_is_asked_again_when_something_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    source, rules = tmp_path / "src" / "package" / "module.py", tmp_path / types.RULES[0]
    source.parent.mkdir(parents=True)
    for path in (source, *(tmp_path / name for name in types.RULES)):
        path.write_text("")
    monkeypatch.setattr(types, "TREE", tmp_path)
    monkeypatch.setattr(types.signal, "signal", lambda *_: None)
    monkeypatch.setattr(types, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(types, "COMMAND", ("/bin/sh", "-c", 'touch "$0"; ! grep -qr wrong src', str(asked)))

    def look() -> tuple[int, bool]:
        asked.unlink(missing_ok=True)
        return types.main(), asked.exists()

    source.write_text("wrong")
    assert [look(), look()] == [(1, True), (1, True)]
    source.write_text("right")
    assert [look(), look()] == [(0, True), (0, False)]
    source.write_text("all right")
    assert [look(), look()] == [(0, True), (0, False)]
    source.write_text("right")
    assert look() == (0, False)  # as it was before
    rules.write_text("another rule")
    assert [look(), look()] == [(0, True), (0, False)]
    source.rename(source.with_name("other.py"))
    assert [look(), look()] == [(0, True), (0, False)]
    source.with_name("other.py").write_text("wrong")
    assert [look(), look()] == [(1, True), (1, True)]


def test_what_was_in_order_is_so_in_another_clone_and_few_states_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = [tmp_path / "one", tmp_path / "another"]
    for tree in trees:
        (tree / "src").mkdir(parents=True)
        for name in ("src/module.py", *types.RULES):
            (tree / name).write_text("the same")
    assert types.state(trees[0]) == types.state(trees[1])
    monkeypatch.setattr(types, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(types, "KEPT", 3)
    monkeypatch.setattr(types, "COMMAND", ("/bin/sh", "-c", "true"))
    monkeypatch.setattr(types.signal, "signal", lambda *_: None)
    monkeypatch.setattr(types, "TREE", trees[0])
    for number in range(5):
        (trees[0] / "src" / "module.py").write_text(f"text {number}")
        assert types.main() == 0
    assert len([*types.CACHE.iterdir()]) == 3
    assert (types.CACHE / types.state(trees[0])).exists()


def test_what_is_in_order_everywhere_is_so_in_each_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    for name in types.RULES:
        (tmp_path / name).write_text("")
    monkeypatch.setattr(types, "TREE", tmp_path)
    monkeypatch.setattr(types.signal, "signal", lambda *_: None)
    monkeypatch.setattr(types, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(types, "COMMAND", ("/bin/sh", "-c", 'echo "$@" >> "$0"', str(asked)))
    for places in (("src", "examples"), ("src", "examples"), ("src",), (), ("examples",), ()):
        assert types.main(*places) == 0
    assert asked.read_text().splitlines() == ["src examples", "src", ""]


def test_whoever_has_no_home_looks_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for name in types.RULES:
        (tmp_path / name).write_text("")
    monkeypatch.setattr(types, "TREE", tmp_path)
    monkeypatch.setattr(types, "CACHE", tmp_path / "file" / "cache")
    monkeypatch.setattr(types, "COMMAND", ("/bin/sh", "-c", "true"))
    monkeypatch.setattr(types.signal, "signal", lambda *_: None)
    assert [types.main(), types.main()] == [0, 0]
