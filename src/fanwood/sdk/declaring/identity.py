"""Who a run is, by what it is asked to do: content addresses, and keys that callers give."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b


@cache
def _hasher(task: str) -> blake2b:
    """Fed with the task's name already; to be copied."""
    return blake2b(task.encode() + b"\0", digest_size=16)


def content_digest(task: str, input_: bytes) -> bytes:
    """Equal for the same task with the same canonical input."""
    hasher = _hasher(task).copy()
    hasher.update(input_)
    return hasher.digest()


def child_identity(key: str) -> bytes:
    """The identity of a child with a key, below its parent."""
    return blake2b(key.encode(), digest_size=16, person=b"key").digest()


def part_identity(kind: str, key: str) -> bytes:
    """The identity of a part of a run that has a key: another one than that of a child with it."""
    return blake2b(f"{kind}\0{key}".encode(), digest_size=16, person=b"part").digest()


def root_identity(namespace: str, key: str) -> bytes:
    """The identity of a root with an idempotency key, in the whole database. (No key holds a NUL.)"""
    return blake2b(f"{namespace}\0{key}".encode(), digest_size=16, person=b"root").digest()
