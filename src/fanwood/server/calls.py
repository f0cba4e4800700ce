"""What a route is, and what its handler gets."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.routing import compile_path

from fanwood.server.identity import Role
from fanwood.server.options import Payloads

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from fanwood.server.identity import Identity
    from fanwood.server.site import Site
    from fanwood.store.store import Store

T = TypeVar("T")

API = "/api/v1"
SMALL = 64 * 1024
"""Bytes of a body that only says what to do."""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, let in."""

    site: Site
    identity: Identity
    route: Route
    path: dict[str, str]
    query: Any  # as the route's `query` says
    body: Any  # as the route's `body` says
    headers: Headers
    may: Callable[[], bool]
    """Whether who asked is still let in: a stream goes on for long."""

    async def ask(self, verb: Callable[[Store], Awaitable[T]], *, primary: bool = False) -> T:
        """Ask the store, and see no more of it than this identity may. `primary`: never a replica."""
        return await self.site.ask(self.identity, verb, primary=primary)

    @property
    def sees_payloads(self) -> bool:
        """Whether what goes into runs, and comes out of them, is for these eyes."""
        return sees_payloads(self.identity, self.site.options.payloads)


def sees_payloads(identity: Identity, payloads: Payloads) -> bool:
    """Whether this identity may see payloads."""
    return payloads is Payloads.ALL or (payloads is Payloads.OPERATOR and identity.role >= Role.OPERATOR)


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """A line of the one table. `answer` is a type for JSON; None: the handler makes the whole answer.

    `heavy`: only some at a time for each identity. `whole`: it shows what belongs to no namespace, and is not for who
    is bound to one. The first line of the handler's docstring says what it is for.
    """

    method: str
    path: str
    role: Role
    handler: Handler
    answer: Any
    query: type[msgspec.Struct] = Nothing
    body: Any = None
    largest: int = SMALL
    status: int = 200
    heavy: bool = False
    whole: bool = False

    @property
    def is_safe(self) -> bool:
        """Whether it changes nothing."""
        return self.method == "GET"


class Table:
    """Routes by path."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.routes = routes
        self._found = [(_pattern(route.path), route) for route in routes]

    def at(self, path: str, *, plain: bool = True) -> dict[str, tuple[Route, dict[str, str]]]:
        """What is at a path: by method, the route and the path's parameters. The first of each method counts. One that
        is not `plain` is of something that is named as people like."""
        found: dict[str, tuple[Route, dict[str, str]]] = {}
        for pattern, route in self._found:
            match = pattern.fullmatch(path) if plain or ":path}" in route.path else None
            if match:
                found.setdefault(route.method, (route, match.groupdict()))
        return found


def _pattern(path: str) -> re.Pattern[str]:
    """What a route's paths look like; what is named as people like may have several lines."""
    return re.compile(compile_path(path)[0].pattern.removesuffix("$"), re.DOTALL)
