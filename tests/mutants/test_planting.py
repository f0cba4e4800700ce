"""What counts as caught."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mutants import __main__ as planting
from tests.mutants.patches import SIMULATION, Hunk, Patch

SEEN = "seed 7: something that must not be\nits story\n"
FAILED = "F.\nFAILED tests/unit/test_one.py::test_it[a - b] - AssertionError: no\n1 failed\n"
TESTS, WORLDS = "tests/unit/test_one.py -k it", SIMULATION


class Copy:
    """A copy in which Python says what it is told to: first with the mistake, and then without."""

    def __init__(self, *answers: tuple[int | None, str]) -> None:
        self.answers = list(answers)
        self.ran: list[tuple[bool, tuple[str, ...]]] = []
        self.there = False

    @contextlib.contextmanager
    def planted(self, _: Patch) -> Iterator[None]:
        self.there = True
        yield
        self.there = False

    def run(self, *arguments: str, seconds: float) -> tuple[int | None, str]:
        assert seconds
        self.ran.append((self.there, arguments))
        return self.answers.pop(0)


def looked_at(by: str, *answers: tuple[int | None, str]) -> tuple[planting.Caught, Copy]:
    copy: Any = Copy(*answers)
    patch = Patch("one", "a mistake", by, [Hunk("src/one.py", "a\n", "b\n")])
    return planting.look(copy, patch, 60 if by == WORLDS else None), copy


@pytest.mark.parametrize(
    ("by", "answers", "caught"),
    [
        (WORLDS, [(1, SEEN), (0, "")], SIMULATION),
        (WORLDS, [(0, "")], ""),
        (WORLDS, [(1, SEEN), (1, SEEN)], ""),  # it is wrong anyway
        (WORLDS, [(1, "Traceback: it can't be imported")], ""),
        (WORLDS, [(None, "")], ""),
        (TESTS, [(1, FAILED), (0, "1 passed")], "tests/unit/test_one.py"),
        (TESTS, [(0, "1 passed")], ""),
        (TESTS, [(1, FAILED), (1, FAILED)], ""),
        (TESTS, [(4, "there is no such file")], ""),
        (TESTS, [(5, "nothing was selected")], ""),
        (TESTS, [(None, ""), (0, "1 passed")], "tests/unit/test_one.py"),  # it hangs
        (TESTS, [(None, ""), (None, "")], ""),
    ],
)
def test_it_is_caught_if_something_fails_with_it_and_not_without(
    by: str, answers: list[tuple[int | None, str]], caught: str
) -> None:
    found, copy = looked_at(by, *answers)
    assert found.by == caught
    assert [there for there, _ in copy.ran] == [True, False][: len(copy.ran)]
    assert not copy.answers


def test_what_failed_is_what_is_tried_without() -> None:
    _, copy = looked_at(TESTS, (1, FAILED), (0, "1 passed"))
    assert copy.ran[1][1][-1] == "tests/unit/test_one.py::test_it[a - b]"


def test_what_can_not_be_planted_is_not_caught(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/one.py").write_text("c\n", "utf-8")
    copy = object.__new__(planting.Copy)
    copy.folder = tmp_path
    found = planting.look(copy, Patch("one", "a mistake", TESTS, [Hunk("src/one.py", "a\n", "b\n")]), None)
    assert not found.by
    assert "is not there" in found.why


def test_one_that_survives_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    patches = [Patch(name, "a mistake", TESTS, []) for name in ("one", "two", "three")]
    caught = [planting.Caught(patch, by, 1) for patch, by in zip(patches, (SIMULATION, "tests", ""), strict=True)]
    assert planting._summary(caught) == 1
    assert "3 planted: 1 caught by the simulation alone (33%), 1 by tests" in capsys.readouterr().out
    assert planting._summary(caught[:2]) == 0
