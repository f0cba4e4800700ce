"""What `make test` leaves out: of what is tested on several stores all but one, nothing of what is tested on one."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.beside import in_turn


class Item:
    def __init__(self, folder: str, file: str, name: str) -> None:
        store = next((each for each in in_turn.STORES if each in name), "none")
        self.name, self.path = name, Path("tests", folder, file)
        self.callspec = SimpleNamespace(params={"url": store})

    def get_closest_marker(self, marker: str) -> bool:
        return self.name == "test_long" and marker == "long"


def items(folder: str, file: str, *names: str) -> list[Any]:
    return [Item(folder, file, name) for name in names]


def left(given: list[Any]) -> list[str]:
    config: Any = SimpleNamespace(hook=SimpleNamespace(pytest_deselected=lambda items: None))
    in_turn.pytest_collection_modifyitems(config, given)
    return [item.name for item in given]


def test_each_test_is_left_on_one_store_and_each_file_has_all():
    names = [f"test_{n}[{way}-{store}]" for n in range(3) for way in "ab" for store in in_turn.STORES]
    found = left(items("semantics", "test_x.py", *names))
    assert sorted(name.rpartition("-")[0] for name in found) == sorted({name.rpartition("-")[0] for name in names})
    assert [sum(store in name for name in found) for store in in_turn.STORES] == [2, 2, 2]


def test_what_is_on_one_store_only_or_tests_a_store_is_left():
    names = ["test_a[sqlite]", "test_b[postgres]", "test_c"]
    assert left(items("semantics", "test_x.py", *names)) == names
    names = ["test_a[sqlite]", "test_a[postgres]"]
    assert left(items("conformance", "test_x.py", *names)) == names


def test_what_is_long_is_left_out():
    assert left(items("postgres", "test_x.py", "test_long", "test_short")) == ["test_short"]


def test_what_is_long_is_somewhere():
    """Where `make chaos` asks for it: whole, or by its name."""
    root = Path(__file__).parents[2]
    asked = set(
        re.findall(r"tests/[\w/.:]+", re.split(r"\nBY_CHANCE :=|\n\n(?=crashes:)", (root / "Makefile").read_text())[1])
    )
    marked = re.compile(r"^@pytest\.mark\.long\n(?:@.*\n|    .*\n|\).*\n)*(?:async )?def (\w+)", re.MULTILINE)
    whole = re.compile(r"^pytestmark = .*pytest\.mark\.long\b.*()$", re.MULTILINE)
    found = [
        (file.relative_to(root), name)
        for file in root.glob("tests/**/test_*.py")
        for text in [file.read_text()]
        for name in marked.findall(text) + whole.findall(text)
    ]
    assert len(found) > 10
    assert [
        f"{file}::{name}" for file, name in found if not asked & {f"{file}", f"{file}::{name}", *map(str, file.parents)}
    ] == []
