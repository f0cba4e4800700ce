"""Secrets in a stream, however it is cut into chunks."""

from __future__ import annotations

import random

import pytest

from fanwood.model.commands import FIRST_CHUNK, TEXT_CHUNK
from fanwood.model.records import LogRecord
from fanwood.server.masking import masked_text
from fanwood.server.masking_streams import OPEN, StreamMask


def told(parts: list[str], *, pausing: bool = False) -> list[str]:
    """Each chunk as it is told."""
    mask, found = StreamMask(), dict[int, str]()
    for number, part in enumerate(parts):
        pieces = mask.add(LogRecord(FIRST_CHUNK + number, 1, 0, TEXT_CHUNK, part))
        for line, text in pieces + (mask.rest() if pausing else []):
            assert line.seq not in found
            found[line.seq] = text or ""
    for line, text in mask.rest():
        found[line.seq] = text or ""
    assert list(found) == [FIRST_CHUNK + number for number in range(len(parts))]
    return list(found.values())


TEXTS = [
    "the password: hunter2 is secret",
    'say {"password": "hun\\"ter2", "user": "ann"} and more',
    "authorization: Bearer hunter2.abc and more",
    "see postgresql://ann:hunter2@host/db, or https://host:80/x?y=1",
    "max_tokens: 4096, token: 12, token: 12hunter2 and 7.5",
    "api_key = 'hunter2', next = 'no'",
    "nothing at all: here; http://a.b/c",
    "tokenhunter: 1",
]


@pytest.mark.parametrize("text", TEXTS)
def test_however_it_is_cut_the_same_is_told(text: str) -> None:
    assert "".join(told([text])) == masked_text(text)
    assert "".join(told(list(text))) == masked_text(text)
    for at in range(len(text)):
        assert "".join(told([text[:at], text[at:]])) == masked_text(text), at
    dice = random.Random(text)
    for _ in range(50):
        cuts = sorted(dice.choices(range(len(text)), k=5))
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert "".join(told(parts)) == masked_text(text)


def test_what_waits_is_digits_and_addresses_only() -> None:
    mask = StreamMask()
    waits = [
        part for n, part in enumerate(["a pass", "word", ":", " hun", "ter", " x", " https://a", ".b", ":1", "2", " y"])
        if not mask.add(LogRecord(FIRST_CHUNK + n, 1, 0, TEXT_CHUNK, part))
    ]  # fmt: skip
    assert waits == [" https://a", ".b", ":1", "2"]


def test_after_a_pause_the_rest_of_a_secret_is_not_told() -> None:
    assert told(["password: ", "hunter2", " x"], pausing=True) == ["password: ", "(masked)", " x"]
    assert told(["token: ", "12", "hunter2", " x"], pausing=True) == ["token: ", "12", "", " x"]
    assert told(["http://ann:hun", "ter2@x"], pausing=True) == ["http://ann:hun", "@x"]


def test_objects_and_lists_are_hidden_to_their_last_bracket() -> None:
    text = 'x {"secret": {"a": ["hunter}2"], "b": 1}, "answer": 42} y'
    assert "".join(told(list(text))) == 'x {"secret": (masked), "answer": 42} y'


def test_a_secret_without_an_end_hides_what_comes_and_takes_no_memory() -> None:
    mask = StreamMask()
    parts = ['password: "', *("hunter2" for _ in range(3000)), '" and more']
    said = [
        text for n, part in enumerate(parts) for _, text in mask.add(LogRecord(FIRST_CHUNK + n, 1, 0, TEXT_CHUNK, part))
    ]
    assert "".join(text or "" for text in said) == 'password: "(masked)"'
    assert len(mask._raw) < 2 * OPEN


def test_long_texts_are_told_at_once_and_take_no_memory() -> None:
    mask, said = StreamMask(), 0
    for n in range(2_000):
        said += sum(len(text or "") for _, text in mask.add(LogRecord(FIRST_CHUNK + n, 1, 0, TEXT_CHUNK, "word " * 20)))
        assert len(mask._raw) <= 1_000
    assert said == 2_000 * 100
    digits = [
        mask.add(LogRecord(FIRST_CHUNK + n, 1, 0, TEXT_CHUNK, "token: " if not n else "1" * 100)) for n in range(50)
    ]
    assert sum(len(text or "") for pieces in digits for _, text in pieces) > 4_000
