"""Forks: runs that are made from others, and copy what those had finished when they ask for it.

What a run is in a fork stands in its row, where lives stand (`model/lives.py`): nothing is read for others.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fanwood.model.states import RunKind, RunState

DEPTH = 1_000
"""Levels between a run that is forked and the one at which it is forked, at most: each has the way in its row."""
FORKS = 100
"""Forks of forks of forks, none of which has asked for what it would have copied: so many are looked through."""

How = Literal["fork", "copy", "again"]


class Fork(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="fork", tag=1):
    """What a run is in a fork. Ids are hex.

    fork: it has its own code executed, and takes what `of` had finished.
    copy: it has completed, as `of` had.
    again: it takes nothing of `of`, in whose place it is.
    """

    of: str
    how: How = "fork"
    way: list[str] = []  # from a child of `of` to the run from which on nothing is taken; none: to nowhere
    input: str | None = None  # of that run, if it is to have another one
    draws: tuple[str, str] | None = None  # whose random numbers it draws: that run's id, and what stands in its row
    changed: bool = False  # it has another input than `of`, or than was asked for
    by: str = ""  # of a root: who wanted it

    @property
    def text(self) -> str:
        """As it is stored."""
        return _encode(self).decode()

    @property
    def key(self) -> bytes:
        """The id of the other run in its inner form."""
        return bytes.fromhex(self.of)


_encode = msgspec.json.Encoder().encode
_decoded = msgspec.json.Decoder(Fork)


def fork_of(text: str | None) -> Fork | None:
    """What stands in a row; None: it is in no fork, or has started over since."""
    if text is None or not text.startswith("{"):
        return None
    try:
        return _decoded.decode(text)
    except msgspec.DecodeError:  # somebody wrote it by hand
        return None


def draws_of(run_id: bytes, life: str | None) -> tuple[str, str]:
    """Whose random numbers a run draws that is in a fork of this one. (What it asks for may depend on them.)"""
    fork = fork_of(life)
    return (run_id.hex(), life or "") if fork is None or fork.draws is None else fork.draws


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A child of a run that was forked, as the fork finds it: it is copied if it has completed, else run again."""

    identity: bytes
    id: bytes
    kind: RunKind
    state: RunState
    asked: int  # by which attempt
    digest: bytes | None
    child_key: str | None
    told: bool  # its output is here
    output: str | None
    input: str  # of what has no code, had another input than was asked for, or has started over
    life: str | None


class Lineage(msgspec.Struct, frozen=True):
    """A fork: from which run it was made, and how."""

    root_id: bytes
    origin_id: bytes
    origin_root: bytes
    at: bytes | None  # the run from which on nothing was taken
    changed: int  # 1: that (or the fork itself, if there is none) has another input
    made_at: int
    by: str
