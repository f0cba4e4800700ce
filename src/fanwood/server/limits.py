"""How much one identity may ask for at a time."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fanwood.server.problems import Refusal

if TYPE_CHECKING:
    from collections.abc import Generator

HEAVY = 4
STREAMS = 20


class Limits:
    """What is under way, by identity."""

    def __init__(self) -> None:
        self._heavy = Counter[str]()
        self._streams = Counter[str]()

    @contextmanager
    def heavy(self, who: str) -> Generator[None, None, None]:
        """One look that may take long.

        Raises:
            Refusal: there are `HEAVY` already.
        """
        _check(self._heavy, who, HEAVY, "long looks")
        with _one(self._heavy, who):
            yield

    def check_streams(self, who: str) -> None:
        """Before one begins.

        Raises:
            Refusal: there are `STREAMS` already.
        """
        _check(self._streams, who, STREAMS, "streams")

    def is_full(self, who: str) -> bool:
        """Whether there are `STREAMS`: many may have begun since they were checked."""
        return self._streams[who] >= STREAMS

    @contextmanager
    def stream(self, who: str) -> Generator[None, None, None]:
        """One stream, that may."""
        with _one(self._streams, who):
            yield


def _check(counter: Counter[str], who: str, most: int, what: str) -> None:
    if counter[who] >= most:
        title = f"You have {most} {what} under way already"
        raise Refusal(429, "too_many", title, "Try again when one has ended.", headers={"retry-after": "1"})


@contextmanager
def _one(counter: Counter[str], who: str) -> Generator[None, None, None]:
    counter[who] += 1
    try:
        yield
    finally:
        counter[who] -= 1
        if not counter[who]:
            del counter[who]
