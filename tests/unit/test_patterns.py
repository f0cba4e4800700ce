"""Patterns: what Python's own way of matching says, in a bounded time, or nothing."""

from __future__ import annotations

import random
import re

import pytest

from fanwood.codec.patterns import LONGEST, Steps, fits

MANY = 200_000


def judged(pattern: str, text: str, steps: int = MANY) -> bool | None:
    return fits(pattern, text, Steps(steps))


@pytest.mark.parametrize(
    "pattern",
    [
        "^[a-z]+$", "a", "", "^$", "^", "$", "a|b|", "(a|ab)(c|bcd)$", "a{2}", "^a{2,}$", "^(ab){1,3}$", "^(a?){3}b$",
        r"^\d{3}-\d{4}$", r"^\w+@\w+\.[a-z]{2,3}$", r"\bab\b", r"\Bb", r"\Aab\Z", "^[^ab]+$", "^[^a]$", "(a*)*$",
        "^(?:a|b)*?c$", "(?P<x>a)b+?", r"^\S\s\D$", r"^[\d\-a]+$", "x?$", "^(a|b|ab)*c$", "^.b$",
        "^[+]?[0-9]{1,3}$", "(" * 400 + ")" * 400,
    ],
)  # fmt: skip
def test_it_says_what_python_says(pattern: str) -> None:
    dice = random.Random(pattern)
    texts = ["", "a", "ab", "abc", "abcd", "aab", "555-1234", "x@y.de", "a b", "\n", "a\n", "ab\n", "aaa"]
    texts += ["".join(dice.choices("abcd -1@.x\n_", k=dice.randrange(9))) for _ in range(300)]
    for text in texts:
        assert judged(pattern, text) is (re.search(pattern, text) is not None), (pattern, text)


def test_patterns_at_random() -> None:
    dice, count = random.Random(7), 0

    def pattern(depth: int) -> str:
        what = dice.randrange(9 if depth else 4)
        if what < 4:
            return dice.choice(["a", "b", "[ab]", "[^a]", ".", r"\d", "^", "$", r"\b", r"\w"])
        if what < 6:
            return pattern(depth - 1) + pattern(depth - 1)
        if what == 6:
            return f"({pattern(depth - 1)}|{pattern(depth - 1)})"
        return f"(?:{pattern(depth - 1)}){dice.choice(['*', '+', '?', '{2}', '{0,2}', '{1,}', '*?'])}"

    for _ in range(1500):
        made = pattern(4)
        for _ in range(4):
            text = "".join(dice.choices("ab1\n ", k=dice.randrange(7)))
            assert judged(made, text) is (re.search(made, text) is not None), (made, text)
            count += 1
    assert count == 6000


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(.*a){20}$", r"(x+x+)+y", r"^(\w+\s?)*$"])
def test_none_takes_for_ever(pattern: str) -> None:
    """Python would take longer than the sun shines."""
    text = "a" * 12 + "b!"
    assert judged(pattern, text) is (re.search(pattern, text) is not None)
    assert judged(pattern, "a" * 50_000 + "!") in (False, None)


def test_what_takes_too_many_steps_is_not_judged() -> None:
    assert judged("^a+$", "a" * 1_000, 100) is None
    steps = Steps(15_000)
    assert [fits("^a+$", "a" * 1_000, steps) for _ in range(3)] == [True, None, None]


def test_large_sets_take_their_steps() -> None:
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 1600, 2)))
    assert judged(f"^[{letters}a]+$", "a" * 40, 10_000) is True
    assert judged(f"^[{letters}a]+$", "a" * 100, 10_000) is None


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a)\1", "aa"), ("(?=a)a", "a"), ("(?<!b)a", "a"), ("(?i)a", "A"), ("a++", "a"), ("(?>a)b", "ab"),
        ("(", "a"), ("[", "a"), (r"\p{L}", "a"), ("[[:alpha:]]", "a"), ("[a-z--b]", "b"), (r"[a\[]", "["),
        (r"^\w+$", "ä"), (r"\b", "ä"), ("a" * (LONGEST + 1), "a"), ("a{1001}", "a"), ("(a{50}){50}", "a"),
        ("(){99999999}", "a"), ("((){999}){999}", "a"), ("a{2,1}", "a"), ("(?-i:a)", "a"),
        (r"^\s$", "\x1c"), (r"\S", "\x1f"), (r"^\<b\>$", "b"), (r"^\b{start}a$", "a"),
    ],
)  # fmt: skip
def test_what_can_not_be_told_is_not_judged(pattern: str, text: str) -> None:
    assert judged(pattern, text) is None


@pytest.mark.parametrize(
    ("pattern", "text", "fit"), [("^[ä-ü]+$", "äö", True), ("^[^a]$", "ä", True), (".", "ä", True)]
)
def test_other_letters(pattern: str, text: str, fit: bool) -> None:
    assert judged(pattern, text) is True
