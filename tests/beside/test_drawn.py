"""What is drawn in `make test` has nothing from the source."""

from __future__ import annotations

import sys

import pytest
from hypothesis.internal import charmap
from hypothesis.internal.conjecture import providers

from tests.beside import drawn


def test_no_module_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charmap, "intervals_from_codec", charmap.intervals_from_codec)  # as it was, afterwards
    monkeypatch.setattr(providers, "is_local_module_file", lambda _: True)
    monkeypatch.setattr(providers, "_sys_modules_len", None)
    monkeypatch.setattr(providers, "_seen_modules", set())
    monkeypatch.setattr(providers, "constants_from_module", lambda module: pytest.fail(f"{module} is read"))
    drawn.pytest_collection_modifyitems()
    providers._get_local_constants()


@pytest.mark.long
def test_characters_are_those_that_are_found_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    encodable = "".join(map(chr, range(sys.maxunicode + 1))).encode("utf-8", "ignore").decode("utf-8")
    monkeypatch.setattr(charmap, "intervals_from_codec", charmap.intervals_from_codec)
    monkeypatch.setattr(providers, "is_local_module_file", lambda _: False)
    drawn.pytest_collection_modifyitems()
    characters, lossy = charmap.intervals_from_codec("utf-8")
    assert sum(end - start + 1 for start, end in characters.intervals) == len(encodable)
    assert all(chr(at) in encodable for pair in characters.intervals for at in pair)
    assert not lossy
    assert charmap.intervals_from_codec("ascii")[0].intervals == ((0, 127),)
