"""Each mistake can still be planted, and is caught by something that there is. (Whether it is: `make mutants`.)"""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

import pytest

from tests.mutants.patches import FOLDER, Patch, PatchError, applied, patches, read

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("patch", patches(), ids=lambda patch: patch.name)
def test_it_can_be_planted(patch: Patch) -> None:
    for path, text in applied(patch, ROOT).items():
        assert path.is_relative_to(ROOT / "src")
        assert text != path.read_text("utf-8")
        if path.suffix == ".py":
            ast.parse(text)
    if not patch.by_simulation:
        assert (ROOT / shlex.split(patch.caught_by)[0].partition("::")[0]).exists()


def test_no_two_are_the_same() -> None:
    changes: dict[tuple[tuple[Path, str], ...], str] = {}
    for patch in patches():
        change = tuple(sorted(applied(patch, ROOT).items()))
        assert change not in changes, f"{patch.name} is {changes[change]}"
        changes[change] = patch.name
    assert len(changes) >= 20


@pytest.mark.parametrize("before", ["nothing like it", "from __future__ import annotations"])
def test_what_can_not_be_planted_says_so(tmp_path: Path, before: str) -> None:
    path = tmp_path / "one.patch"
    diff = f"--- a/one.py\n+++ b/one.py\n@@ -1 +1 @@\n-{before}\n+pass\n"
    path.write_text(f"A mistake.\n\nCaught by: simulation\n\n{diff}", "utf-8")
    (tmp_path / "one.py").write_text("from __future__ import annotations\n" * 2, "utf-8")
    with pytest.raises(PatchError, match=r"is not there|more than once"):
        applied(read(path), tmp_path)
    path.write_text(diff, "utf-8")
    with pytest.raises(PatchError, match="must say what it is"):
        read(path)


def test_all_that_lies_there_is_a_patch_or_plants_them() -> None:
    assert {path.suffix for path in FOLDER.iterdir() if path.is_file()} == {".py", ".patch"}
