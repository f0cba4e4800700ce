"""Who asks: tokens, and what they allow."""

from __future__ import annotations

import hashlib
import hmac
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable


class Role(IntEnum):
    """Who may do what. Each may do what those before it may."""

    VIEWER = 1  # looks; payloads only if `Payloads.ALL`
    OPERATOR = 2  # starts, cancels, retries, replays
    ADMIN = 3  # deletes


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a tokens file. Of the secret only its hash is kept."""

    name: str
    sha256: str
    role: str = "viewer"
    namespace: str = ""  # sees nothing else
    expires: int = 0  # microseconds; 0: never


class Identity(msgspec.Struct, frozen=True):
    """Who asks."""

    name: str
    role: Role
    namespace: str = ""  # "": all


NOBODY_ASKED = Identity("anyone", Role.ADMIN)
"""Where no login is asked for."""
OWNER = Identity("owner", Role.ADMIN)
"""Who has the link."""


def digest(secret: str) -> str:
    """What is kept of a token. It is random, so that a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def find(secret: str, owner: str | None, tokens: Iterable[Token], now: int) -> Identity | None:
    """Whose token it is. All are looked at, and each in constant time."""
    given, found = digest(secret), None
    if owner is not None and hmac.compare_digest(given, digest(owner)):
        found = OWNER
    for token in tokens:
        same = hmac.compare_digest(given, token.sha256)
        if same and (token.expires == 0 or now < token.expires):
            found = Identity(token.name, Role[token.role.upper()], token.namespace)
    return found
