"""Ordinals count equal children as a dict would, in a tenth of its memory."""

from __future__ import annotations

import random
import sys
from collections import Counter
from hashlib import blake2b

import pytest

from fanwood.sdk.running import ordinals
from fanwood.sdk.running.ordinals import Fingerprints, Ordinals


def digest(number: int) -> bytes:
    return blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


@pytest.fixture
def soon_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept as it is, is as little as possible."""
    monkeypatch.setattr(ordinals, "EXACT", 16)


@pytest.mark.usefixtures("soon_old")
@pytest.mark.parametrize("seed", range(2))
def test_it_counts_as_a_dict_does(seed: int) -> None:
    chance, counted, expected = random.Random(seed), Ordinals(), Counter[bytes]()
    for _ in range(3_000):
        content = digest(chance.randrange(2_000) if chance.random() < 0.7 else chance.randrange(20))
        if chance.random() < 0.2:
            if expected[content]:
                counted.take_back(content, expected[content] - 1)
                expected[content] -= 1
        else:
            assert counted.next(content) == expected[content]
            expected[content] += 1
        assert counted.count(content) == expected[content]


@pytest.mark.usefixtures("soon_old")
def test_contents_without_a_fingerprint_of_their_own_are_told_apart_from_an_empty_place() -> None:
    counted = Ordinals()
    nothing = bytes(16)
    assert counted.next(nothing) == 0
    for number in range(100):
        assert counted.next(digest(number)) == 0
    assert counted.next(nothing) == 1
    assert counted.next(nothing) == 2


def test_memory_is_that_of_fingerprints() -> None:
    kept = Fingerprints()
    count = 40_000
    kept.add([digest(number) for number in range(count)])
    assert len(kept) == count
    assert sum(map(sys.getsizeof, kept._parts)) <= 11 * count
    assert all(digest(number) in kept for number in range(0, count, 97))
    assert not any(digest(number) in kept for number in range(count, count + 1000))


def test_what_is_refused_after_another_one_was_asked_for_gets_its_own_number_again() -> None:
    counted, content = Ordinals(), bytes(16)
    assert [counted.next(content) for _ in range(3)] == [0, 1, 2]
    counted.take_back(content, 1)
    counted.take_back(content, 0)
    assert [counted.next(content) for _ in range(3)] == [0, 1, 3]
