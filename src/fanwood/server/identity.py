"""Who asks: tokens, and what they allow. Everything is compared exactly, and secrets in constant time."""

from __future__ import annotations

import hashlib
import hmac
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

import msgspec

from fanwood.checks import shown
from fanwood.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fanwood.clock import Clock

PREFIX = "fw_"
"""How a token begins, so that one that got into a text is recognized."""
RELOAD = 2.0
"""Seconds between two looks whether the file of tokens has changed."""


class Role(IntEnum):
    """Who may do what. Each may do what those before it may."""

    NOBODY = 0  # who has not said who they are
    VIEWER = 1  # looks; at payloads only if these are for all
    OPERATOR = 2  # starts, cancels, retries, replays
    ADMIN = 3  # deletes


class Token(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A line of a file of tokens. Of the secret only its hash is kept."""

    name: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    role: str = "viewer"
    namespace: str = ""  # sees nothing else
    expires: int = 0  # microseconds; 0: never


class Identity(msgspec.Struct, frozen=True):
    """Who asks."""

    name: str
    role: Role
    namespace: str = ""  # "": all


NOBODY = Identity("nobody", Role.NOBODY)
ANYONE = Identity("anyone", Role.ADMIN)
"""Where no login is asked for."""
OWNER = Identity("owner", Role.ADMIN)
"""Who has the link."""


def digest(secret: str) -> str:
    """What is kept of a token. It is random, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def role_named(name: str) -> Role:
    """A role by its name.

    Raises:
        SettingsError: there is none of that name.
    """
    if name not in {role.name.lower() for role in Role if role}:
        raise SettingsError(f"There is no role {shown(name)}; there are viewer, operator and admin")
    return Role[name.upper()]


def find(secret: str, owner: str | None, tokens: Iterable[Token], now: int) -> Identity | None:
    """Whose token it is. All are looked at, however early one fits."""
    given, found = digest(secret), None
    if owner is not None and hmac.compare_digest(given, digest(owner)):
        found = OWNER
    for token in tokens:
        same = hmac.compare_digest(given, token.sha256)
        if same and (token.expires == 0 or now < token.expires):
            found = Identity(token.name, Role[token.role.upper()], token.namespace)
    return found


def read_tokens(path: Path) -> tuple[Token, ...]:
    """A file of tokens: a line of JSON for each.

    Raises:
        SettingsError: it can't be read, or isn't one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found = tuple(msgspec.json.decode(line, type=Token) for line in lines if line.strip())
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no file of tokens, as `fanwood token` writes it: {error}") from None
    for token in found:
        role_named(token.role)
    return found


class Tokens:
    """A file of tokens; what is taken out of it is no longer let in a moment later."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seen: object = None
        self._looked = float("-inf")
        self._tokens: tuple[Token, ...] = ()

    def all(self) -> tuple[Token, ...]:
        """Those of now. A file that can't be read any more lets nobody in."""
        if self._path is not None and self._clock.monotonic() - self._looked > RELOAD:
            self._looked = self._clock.monotonic()
            try:
                stat = self._path.stat()
                seen = stat.st_mtime_ns, stat.st_size, stat.st_ino
                if seen != self._seen:
                    self._tokens, self._seen = read_tokens(self._path), seen
            except (OSError, SettingsError):
                self._tokens, self._seen = (), None
        return self._tokens
