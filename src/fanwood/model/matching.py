"""Which waits an event ends: by digests, so that of a hundred thousand waits for one key only those are looked at that
it ends.

What a wait is found by is its *mark*: a hash of the key; one of the paths at which it compares values (the *shape*);
one of all that and of the values; and the number of the wait. Who pushes looks which shapes there are for the key, one
step of an index each, takes the values at those paths from the payload, and probes for each shape once: from the first
number up to the event's own.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

import msgspec

from fanwood.model.states import RunKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_encode = msgspec.json.Encoder(order="deterministic").encode
_NONE = object()
LAST_MARK = b"\xff" * 41
NUMBER = 8
"""Bytes of a mark's end, the number."""


class Wanted(msgspec.Struct, frozen=True):
    """What is waited for; stored as the wait's input."""

    key: str
    scope: str | None = None
    match: dict[str, Any] = {}
    expression: str | None = None


class Event(msgspec.Struct, frozen=True):
    """What has happened. `payload` and `metadata` are JSON. `open`: there may be waits that it ends yet."""

    id: str
    key: str
    payload: str
    scope: str | None = None
    metadata: str | None = None
    at: int = 0
    number: int = 0
    open: bool = False

    @property
    def digest(self) -> bytes:
        """To tell an id's misuse."""
        return _hash([self.key, self.scope, msgspec.json.decode(self.payload)], 16)


_decode = msgspec.json.Decoder(Wanted).decode


def read(text: str) -> Wanted:
    """What a wait waits for."""
    try:
        return _decode(text)
    except msgspec.DecodeError:  # somebody wrote it by hand
        return Wanted("")


def key_mark(key: str) -> bytes:
    """How the marks of all waits for a key begin."""
    return _hash(key, 8)


def key_lock(mark: bytes) -> int:
    """The number by which a key is locked."""
    return int.from_bytes(mark[:8], "big", signed=True)


def mark_of(wanted: Wanted) -> bytes:
    """A wait's mark, without its number."""
    paths = sorted(wanted.match)
    shape = [wanted.scope is not None, wanted.expression is not None, paths]
    values = [plain(wanted.match[path]) for path in paths]
    return key_mark(wanted.key) + _hash(shape, 8) + _hash([wanted.key, wanted.scope, shape, values], 16)


def is_spoilt(text: str, mark: bytes, key: str) -> bool:
    """Whether what a wait wants, by its row, is not what its mark says: of another key, or shape. Whoever takes it for
    one of its shape passes all others by. (What it compares with stands in the mark alone.)"""
    wanted = read(text)
    return wanted.key != key or mark_of(wanted)[8:16] != mark[8:16]


def is_found(kind: int, parent_id: bytes | None, mark: bytes | None, text: str | None) -> bool:
    """Whether what waits for an event, or a message, has the mark by which that looks for it."""
    wanted = read(text or "")
    its = inbox_mark(parent_id or b"", wanted.key) if kind == RunKind.MESSAGE else mark_of(wanted)
    return mark is not None and len(mark) == len(its) + NUMBER and mark.startswith(its)


def inbox_mark(run_id: bytes, name: str) -> bytes:
    """The mark of who waits for messages."""
    return _hash(["message", run_id.hex()], 8) + _hash(name, 8) + _hash([run_id.hex(), name], 16)


def shape_end(mark: bytes) -> bytes:
    """After all marks of the same key and shape."""
    return mark[:16] + LAST_MARK[16:]


def numbered_mark(mark: bytes, number: int) -> bytes:
    """With its number."""
    return mark[:32] + number.to_bytes(NUMBER, "big")


def probes(event: Event, shapes: Iterable[str]) -> Iterator[tuple[bytes, bool]]:
    """The marks that an event would end, and whether an expression decides of those. `shapes`: for each shape of the
    key what one of its waits wants."""
    payload = msgspec.json.decode(event.payload)
    for text in shapes:
        wanted = read(text)
        if wanted.key != event.key or (wanted.scope is not None and event.scope is None):
            continue
        match = {path: value_at(payload, path) for path in wanted.match}
        if _NONE not in match.values():
            scope = None if wanted.scope is None else event.scope
            yield mark_of(Wanted(event.key, scope, match, wanted.expression)), wanted.expression is not None


def fits(event: Event, wanted: Wanted) -> bool:
    """Whether an event is one of those that are waited for, but for the expression."""
    if event.key != wanted.key or (wanted.scope is not None and event.scope != wanted.scope):
        return False
    payload = msgspec.json.decode(event.payload) if wanted.match else None
    found = {path: value_at(payload, path) for path in wanted.match}
    return all(found[path] is not _NONE and plain(found[path]) == plain(wanted.match[path]) for path in wanted.match)


def value_at(payload: Any, path: str) -> Any:
    """What stands in a payload at `a.b.0`; `_NONE`: nothing."""
    for step in path.split("."):
        if isinstance(payload, dict):
            payload = cast("dict[str, Any]", payload).get(step, _NONE)
        elif isinstance(payload, list) and step.isascii() and step.isdigit() and len(step) < 10:
            items = cast("list[Any]", payload)
            payload = items[int(step)] if int(step) < len(items) else _NONE
        else:
            return _NONE
    return payload


def plain(value: Any) -> str:
    """A value, so that equal ones are equal: 7.0 is 7, and true is not 1."""
    return _encode(with_whole_numbers(value)).decode()


def with_whole_numbers(value: Any, below: float = 2**53) -> Any:
    """JSON's own types, with 7 for 7.0. (From `below` on a float stands for several.)"""
    if isinstance(value, float) and value.is_integer() and abs(value) < below:
        return int(value)
    if isinstance(value, dict):
        return {key: with_whole_numbers(each, below) for key, each in cast("dict[str, Any]", value).items()}
    return [with_whole_numbers(each, below) for each in cast("list[Any]", value)] if isinstance(value, list) else value


def _hash(value: Any, size: int) -> bytes:
    return blake2b(_encode(value), digest_size=size, person=b"mark").digest()
