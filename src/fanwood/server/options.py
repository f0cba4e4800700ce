"""How the server is set up: where it listens, who may see what."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fanwood.server.identity import Role

DEFAULT_PORT = 8765


class Payloads(StrEnum):
    """Who may see what goes into runs, and comes out of them."""

    ALL = "all"
    OPERATOR = "operator"  # and admins
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Options:
    """What `fanwood ui` is told."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)  # of the link
    login: bool = True
    read_only: bool = False
    payloads: Payloads = Payloads.OPERATOR
    hosts: tuple[str, ...] = ()  # beside our own: what a proxy's clients ask for
    secure: bool = False  # browsers reach it by https
    tokens: Path | None = None  # of others: a file
    proxies: frozenset[str] = frozenset()  # addresses whose headers say who asks
    proxy_secret: str = field(default="", repr=False)  # ... if they know this
    groups: Mapping[str, Role] = field(default_factory=dict["str", "Role"])  # of the proxy's users

    def all_hosts(self) -> frozenset[str]:
        """What a request's `Host` may be, exactly."""
        here = is_loopback(self.host) or self.host in EVERYWHERE
        own = {bracketed(name) for name in ({"127.0.0.1", "localhost", "::1"} if here else {self.host})}
        bare = own if self.port == (443 if self.secure else 80) else set[str]()  # browsers leave that port out
        return frozenset({f"{name}:{self.port}" for name in own} | bare | set(self.hosts))


EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104  (compared only)
"""Addresses that stand for all of a machine's, so that it is reached by its own names as well."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    return host in {"127.0.0.1", "localhost", "::1"}


def bracketed(host: str) -> str:
    """As it stands in a URL."""
    return f"[{host}]" if ":" in host else host
