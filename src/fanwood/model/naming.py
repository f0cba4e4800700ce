"""Identities and ids that are derived from others, and so are the same whoever derives them."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from fanwood.model.lives import LIVES

if TYPE_CHECKING:
    from fanwood.model.lives import Life

VERSION = blake2b(b"version\0", digest_size=16, person=b"part").digest()
"""The identity of the part in which a durable run has recorded the version of the code that began it."""


def numbered(content: bytes, ordinal: int) -> bytes:
    """The identity of one of several equal children of an attempt, from the second on."""
    return blake2b(content, digest_size=16, salt=ordinal.to_bytes(8, "big")).digest()


def named_in(run_id: bytes, life: Life) -> bytes:
    """By what parts of a run are named that has started over."""
    return life.floor[:6] + numbered(run_id, LIVES + life.number)[6:]


def version_id(origin: bytes) -> bytes:
    """The id of that part. `origin`: by what the run's parts are named."""
    return part_id(origin, VERSION)


def part_id(parent: bytes, identity: bytes) -> bytes:
    """The id of a part that is known before it is recorded: the same in every attempt. It looks like one that was made
    just after its parent's."""
    made = int.from_bytes(parent[:6], "big") + 1
    rest = bytearray(blake2b(identity, digest_size=10, key=parent, person=b"part id").digest())
    rest[0], rest[2] = 0x70 | (rest[0] & 0x0F), 0x80 | (rest[2] & 0x3F)
    return min(made, (1 << 48) - 1).to_bytes(6, "big") + bytes(rest)
