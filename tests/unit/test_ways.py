"""The way that a failure came is told whole as long as it is short, and by its ends else."""

from __future__ import annotations

import uuid

import pytest

from fanwood.sdk.declaring.ways import END, with_step

RUNS = [str(uuid.UUID(int=number)) for number in range(1_000)]


def climbed(levels: int, message: str = "boom") -> str:
    for number in range(levels):
        message = with_step(message, f"task{number}", RUNS[number])
    return message


def step(number: int) -> str:
    return f" [in task{number}, run {RUNS[number]}]"


@pytest.mark.parametrize("levels", [0, 1, 2 * END])
def test_a_short_way_is_told_whole(levels: int) -> None:
    assert climbed(levels) == "boom" + "".join(step(number) for number in range(levels))


@pytest.mark.parametrize("levels", [2 * END + 1, 2 * END + 2, 1_000])
def test_of_a_long_one_the_ends_are_told(levels: int) -> None:
    first, last = range(END), range(levels - END, levels)
    between = f" [through {levels - 2 * END} more]"
    assert climbed(levels) == "boom" + "".join(map(step, first)) + between + "".join(map(step, last))


@pytest.mark.parametrize(
    "own",
    ["", " [in ", " [in a, run b]" * 100, " [through 5 more]", f" [in a[0], run {RUNS[0]}]" * 30, "\n" * 500, "é"],
)
def test_what_somebody_said_himself_is_kept_as_it_is(own: str) -> None:
    assert climbed(100, own).startswith(own)
    assert climbed(100, own).endswith(step(99))
    assert climbed(3, own) == own + step(0) + step(1) + step(2)
