from __future__ import annotations

import pytest

from fanwood.cli.text import clean, clean_block, columns, fitted, many, size, took


@pytest.mark.parametrize(
    ("microseconds", "shown"),
    [
        (None, ""),
        (0, "0 us"),
        (999, "999 us"),
        (1_000, "1.0 ms"),
        (12_345, "12 ms"),
        (999_999, "1000 ms"),
        (3_249_000, "3.2 s"),
        (245_000_000, "4m 05s"),
        (7_800_000_000, "2h 10m"),
        (90_000_000_000, "1d 01h"),
    ],
)
def test_took(microseconds, shown):
    assert took(microseconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (999, "999 B"), (1_400_000, "1.4 MB"), (10**15, "1000.0 TB")])
def test_size(count, shown):
    assert size(count) == shown


def test_many():
    assert [many(1, "run"), many(1000, "run"), many(2, "child", "children")] == ["1 run", "1,000 runs", "2 children"]


@pytest.mark.parametrize(
    "hostile",
    [
        "a\x1b[31mb",
        "a\x1b]0;title\x07b",
        "a\x1b]8;;http://x\x1b\\b",
        "a\x07\x08\x7fb",
        "a\x9bb",
        "a\u202eb",
        "a\x1bPq...\x1b\\b",
        "a\ud800b",
        "a\x1bcb",
    ],
)
def test_nothing_reaches_the_terminal(hostile):
    assert clean(hostile) == "ab"


def test_lines():
    assert clean("a\r\nb\t c\n") == "a b c"
    assert clean_block("a\r\nb\tc") == "a\nb\tc"
    assert clean("x" * 400) == "x" * 297 + "..."


def test_columns():
    assert [columns(line) for line in ("abc", "\u65e5\u672c", "e\u0301", "")] == [3, 4, 1, 0]
    assert fitted("\u65e5\u672c\u8a9e", 6) == "\u65e5\u672c\u8a9e"
    assert fitted("\u65e5\u672c\u8a9e", 5) == "\u65e5..."
    assert fitted("a\u65e5\u672c\u8a9e", 6) == "a\u65e5..."
    assert [fitted("abcdef", width) for width in (6, 5, 2)] == ["abcdef", "ab...", "ab"]
