"""Who is let in: every request passes here, before anything is read of it or asked for it.

It names what is allowed; everything else is refused.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from fanwood.server.identity import ANYONE, NOBODY, Identity, Role, Tokens, digest, find
from fanwood.server.problems import Refusal

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from fanwood.clock import Clock
    from fanwood.server.calls import Route
    from fanwood.server.options import Options

COOKIE = "__Host-fanwood"
PROXY_SECRET, PROXY_USER, PROXY_GROUPS = "x-fanwood-proxy-secret", "x-forwarded-user", "x-forwarded-groups"
LONGEST_URL = 8 * 1024
LARGEST_HEAD = 32 * 1024
SAFE = {"GET", "HEAD"}
_OURSELVES = {"same-origin", "none"}

_INLINE = "sha256-McOvHs0nfp/uxrgkL22lngMNEqwXNMVdTDaiUo05ClE="
"""The frame's own few lines, which fetch anew what was lost: nothing else that stands in a page is executed."""

HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; script-src 'self' '{_INLINE}'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every answer."""


class Gate:
    """The checks, for one server."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._tokens = Tokens(options.tokens, clock)
        self._hosts = options.all_hosts()
        scheme = "https" if options.secure else "http"
        self._origins = frozenset(f"{scheme}://{host}" for host in self._hosts)

    def check_size(self, target: bytes, headers: Headers) -> None:
        """A URL and headers that are no larger than ours are.

        Raises:
            Refusal: they are.
        """
        if len(target) > LONGEST_URL:
            raise Refusal(414, "url_too_long", f"The URL is longer than {LONGEST_URL:,} bytes")
        if sum(len(name) + len(value) for name, value in headers.raw) > LARGEST_HEAD:
            raise Refusal(431, "headers_too_large", f"The headers are larger than {LARGEST_HEAD:,} bytes")

    def check_place(self, headers: Headers) -> None:
        """It was meant for us: a page of somebody else's whose name was made to lead here (DNS rebinding) says its own
        name. And it comes from our page, if from any.

        Raises:
            Refusal: it wasn't, or doesn't.
        """
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise Refusal(
                403,
                "host_not_allowed",
                "This server is not known by that name",
                "Add it with --allow-host NAME[:PORT].",
            )
        origins = headers.getlist("origin")
        if len(origins) > 1 or (origins and origins[0].lower() not in self._origins):
            raise Refusal(403, "origin_not_allowed", "Another site's page asks")

    def check_intent(self, headers: Headers, *, is_safe: bool) -> None:
        """A page of another site may not ask the API; and what changes something must prove that it is no such page.

        Raises:
            Refusal: it is, or proves nothing.
        """
        site = headers.get("sec-fetch-site")
        if site is not None and site not in _OURSELVES:
            raise Refusal(403, "cross_site", "Another site's page asks")
        if is_safe:
            return
        if site is None and "origin" not in headers:
            raise Refusal(
                403,
                "origin_missing",
                "It isn't said from where this was asked",
                "Requests that change something need the header `Sec-Fetch-Site: none`, or an `Origin` that is ours.",
            )
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise Refusal(415, "json_only", "Bodies are JSON", "Send `Content-Type: application/json`.")

    def identify(self, headers: Headers, client: str) -> Identity:
        """Who asks; nobody, if it is nobody whom we know. `client`: the address at the other end."""
        options = self._options
        if not options.login:
            return ANYONE
        return self._by_token(headers) or self._by_proxy(headers, client) or NOBODY

    def _by_token(self, headers: Headers) -> Identity | None:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            secret = _cookie(headers) if self._options.secure else ""
        return self.owner_of(secret.strip()) if secret else None

    def owner_of(self, secret: str) -> Identity | None:
        """Whose token that is."""
        return find(secret, self._options.token, self._tokens.all(), self._clock.now())

    def _by_proxy(self, headers: Headers, client: str) -> Identity | None:
        """Its word counts if it comes from where it should, and knows the secret. What is there twice may be somebody
        else's, to whom the proxy added its own."""
        options = self._options
        if client not in options.proxies or not options.proxy_secret:
            return None
        if any(len(headers.getlist(name)) > 1 for name in (PROXY_SECRET, PROXY_USER, PROXY_GROUPS)):
            return None
        if not hmac.compare_digest(digest(headers.get(PROXY_SECRET, "")), digest(options.proxy_secret)):
            return None
        groups = {name.strip() for name in headers.get(PROXY_GROUPS, "").split(",")}
        role = max((role for name, role in options.groups.items() if name in groups), default=None)
        name = headers.get(PROXY_USER, "")
        return Identity(f"proxy:{name}", role) if name and role is not None else None

    def allow(self, identity: Identity, route: Route) -> None:
        """Whether this is for them.

        Raises:
            Refusal: it isn't.
        """
        if identity.role is Role.NOBODY and route.role is not Role.NOBODY:
            raise self.login_needed()
        if self._options.read_only and not route.is_safe and route.role is not Role.NOBODY:
            raise Refusal(403, "read_only", "This server only shows")
        if identity.role < route.role:
            raise Refusal(403, "not_allowed", f"This is for {route.role.name.lower()}s")
        if route.whole and identity.namespace:
            raise Refusal(403, "not_allowed", f"This is of no namespace, and you are bound to {identity.namespace}")

    @staticmethod
    def login_needed() -> Refusal:
        """What nobody is told."""
        return Refusal(
            401,
            "login_needed",
            "A token is needed",
            "Open the link that `fanwood ui` printed, or send `Authorization: Bearer TOKEN`.",
            headers={"www-authenticate": 'Bearer realm="fanwood"'},
        )


def _cookie(headers: Headers) -> str:
    """Ours, as `login` set it; none, if it is there twice."""
    pairs = [part.strip().partition("=") for line in headers.getlist("cookie") for part in line.split(";")]
    found = [value for name, _, value in pairs if name == COOKIE]
    return found[0] if len(found) == 1 else ""
