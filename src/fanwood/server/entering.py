"""A token exchanged for a cookie, where browsers come by https, and back."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from fanwood.server.calls import API, Call, Route
from fanwood.server.gate import COOKIE
from fanwood.server.identity import Role
from fanwood.server.problems import Refusal

MONTH = 30 * 86_400
"""Seconds that a browser keeps it. The token in it may end before."""


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who says that they may."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


async def login(call: Call) -> Response:
    """Exchange a token for a cookie that no script can read. Only by https: other cookies would be sent to every
    server of the same machine, whatever its port."""
    given: Login = call.body
    if not call.site.options.secure:
        raise Refusal(403, "https_needed", "Cookies are for https only", "Send the token in the header Authorization.")
    if call.site.owner_of(given.token) is None:
        raise Refusal(401, "wrong_token", "That token isn't known here, or has expired")
    return _with_cookie(given.token, MONTH)


async def logout(call: Call) -> Response:  # noqa: ARG001  (all handlers take one)
    """Take the cookie back."""
    return _with_cookie("", 0)


def _with_cookie(value: str, seconds: int) -> Response:
    response = Response(status_code=204, headers={"cache-control": "no-store"})
    response.set_cookie(COOKIE, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="strict")
    return response


ROUTES = (
    Route("POST", f"{API}/login", Role.NOBODY, login, None, body=Login, status=204),
    Route("POST", f"{API}/logout", Role.NOBODY, logout, None, status=204),
)
