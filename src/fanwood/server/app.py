"""The ASGI application: from a request to its answer."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from fanwood import logs
from fanwood.clock import SystemClock
from fanwood.errors import FanwoodError
from fanwood.ids import SystemIds
from fanwood.lens.book import Lenses
from fanwood.server import static
from fanwood.server.calls import API, Call, Table
from fanwood.server.gate import HEADERS, SAFE, Gate
from fanwood.server.hands import Hands
from fanwood.server.identity import Role
from fanwood.server.limits import Limits
from fanwood.server.live import Live
from fanwood.server.masking import shown
from fanwood.server.openapi import described
from fanwood.server.previews import Previews
from fanwood.server.problems import Refusal, not_found, refusal_for
from fanwood.server.reader import Reader
from fanwood.server.routes import ROUTES
from fanwood.server.site import Site

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from fanwood.clock import Clock
    from fanwood.server.calls import Route
    from fanwood.server.options import Options
    from fanwood.settings import Settings
    from fanwood.store.store import Store

NAMED = (f"{API}/", "/events/", "/tasks/")
"""Below these there may be names of any characters."""
BODY_SECONDS = 10.0
"""How long a body may take to come."""

logger = logs.logger("fanwood.server")


def create(
    settings: Settings,
    options: Options,
    *,
    reading: Settings | None = None,
    clock: Clock | None = None,
    store: Store | None = None,
) -> Application:
    """The application. `reading`: of a replica, for what only shows. `store`: instead of the one that the settings
    name."""
    clock = clock or SystemClock()
    gate = Gate(options, clock)
    primary = Reader(settings, clock, store)
    reader = primary if reading is None else Reader(reading, clock)
    site = Site(
        settings=settings,
        options=options,
        clock=clock,
        reader=reader,
        primary=primary,
        static=static.ours(),
        limits=Limits(),
        owner_of=gate.owner_of,
        description=_description,
        trees=Lenses(clock),
        live=Live(reader, SystemIds()),
        hands=Hands(settings),
        previews=Previews(clock),
    )
    return Application(site, gate)


@cache
def _description() -> bytes:
    return msgspec.json.encode(described(ROUTES, sys.modules["fanwood"].__version__))


class Application:
    """For any ASGI server; ours is in serving.py."""

    def __init__(self, site: Site, gate: Gate) -> None:
        self.site = site
        self._gate = gate
        self._table = Table(ROUTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, _with_headers(send, bare=scope["method"] == "HEAD"))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await self.begin()
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def begin(self) -> None:
        """Go on with what a server before this one has left."""
        if not self.site.options.read_only:
            await self.site.hands.go_on()

    async def close(self) -> None:
        """Let go of everything."""
        await self.site.hands.close()
        await self.site.reader.close()
        await self.site.primary.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, receive)
        except Refusal as refusal:
            response = refusal.response()
        except FanwoodError as error:
            refusal = refusal_for(error)
            if refusal.problem.status >= 500:
                logger.warning("%s %r: %s", scope["method"], scope["path"], error)
            response = refusal.response()
        except ClientDisconnect:
            return
        except Exception:
            logger.exception("%s %r failed", scope["method"], scope["path"])
            response = Refusal(500, "internal", "Something went wrong here", "The server's log says what.").response()
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers, path = Headers(scope=scope), scope["path"]
        self._gate.check_size(scope.get("raw_path", b"") + scope["query_string"], headers)
        self._gate.check_place(headers)
        request = Request(scope, receive)
        if not _is_plain(path) and not (path.startswith(NAMED) and _is_escaped(scope)):
            raise not_found()
        if path.startswith("/api/") or path == "/openapi.json":
            return await self._api(request)
        if request.method not in SAFE:
            raise _wrong_method(["GET"])
        if path == "/healthz":
            return Response(b"ok\n", media_type="text/plain", headers={"cache-control": "no-store"})
        if path.startswith("/static/"):
            found = self.site.static.file(path, request)
            if found is None:
                raise not_found()
            return found
        return self.site.static.frame(request)

    async def _api(self, request: Request) -> Response:
        gate = self._gate
        client = request.client.host if request.client else ""
        identity = gate.identify(request.headers, client)
        method = "GET" if request.method == "HEAD" else request.method
        gate.check_intent(request.headers, is_safe=method in SAFE)
        path = request.scope["path"]  # (a URL made of it would be cut off at a "?" in a name)
        methods = self._table.at(path, plain=_is_plain(path))
        if not methods and not _is_plain(path):
            raise not_found()
        if method not in methods and identity.role is Role.NOBODY:
            raise gate.login_needed()
        if not methods:
            raise Refusal(404, "no_such_route", "There is nothing at this URL")
        if method not in methods:
            raise _wrong_method(list(methods))
        route, parts = methods[method]
        gate.allow(identity, route)
        query = _query(request, route)
        body = None if route.body is None else _decoded(await _body(request, route.largest), route.body)
        call = Call(
            self.site, identity, route, parts, query, body, request.headers,
            may=lambda: gate.identify(request.headers, client) == identity,
        )  # fmt: skip
        with self.site.limits.heavy(identity.name) if route.heavy else nullcontext():
            return _response(call, await route.handler(call), bare=request.method == "HEAD")


def _response(call: Call, answer: Any, *, bare: bool) -> Response:
    if bare and isinstance(answer, StreamingResponse):  # its headers; nothing would ever end it
        return Response(media_type=answer.media_type, headers=dict(answer.headers))
    if isinstance(answer, Response):
        return answer
    body = msgspec.json.encode(shown(answer, payloads=call.sees_payloads))
    return Response(body, call.route.status, media_type="application/json", headers={"cache-control": "no-store"})


def _is_plain(path: str) -> bool:
    """A path with nothing in it that somebody could read in two ways."""
    segments = path.split("/")
    return path.startswith("/") and path.isprintable() and "\\" not in path and not {".", ".."} & set(segments)


def _is_escaped(scope: Scope) -> bool:
    """Whether the path is written such that it can be read in one way only, as anything else in it is escaped."""
    raw = scope.get("raw_path", b"").decode("latin-1")
    segments = {unquote(segment) for segment in raw.split("/")}
    return raw.isascii() and raw.isprintable() and "\\" not in raw and not {".", ".."} & segments


def _query(request: Request, route: Route) -> Any:
    pairs = request.query_params.multi_items()
    given = dict(pairs)
    if len(given) != len(pairs):
        raise Refusal(400, "bad_query", "A parameter is given twice")
    try:
        return msgspec.convert(given, route.query, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise Refusal(400, "bad_query", "The parameters of the URL can't be read", str(error)) from None


async def _body(request: Request, largest: int) -> bytes:
    too_large = Refusal(413, "body_too_large", f"The body is larger than {largest:,} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > largest:
        raise too_large
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                found += part
                if len(found) > largest:
                    raise too_large
    except TimeoutError:
        raise Refusal(
            408, "too_slow", f"The body took longer than {BODY_SECONDS:g} s", headers={"connection": "close"}
        ) from None
    return bytes(found)


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Refusal(422, "bad_body", "The body does not fit", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "bad_json", "The body is not JSON", str(error)) from None


def _wrong_method(allowed: list[str]) -> Refusal:
    names = sorted([*allowed, "HEAD"] if "GET" in allowed else allowed)
    return Refusal(405, "wrong_method", "That can't be done here", headers={"allow": ", ".join(names)})


def _with_headers(send: Send, *, bare: bool) -> Send:
    """Every answer has our headers, errors too; that to HEAD has no body."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        elif bare and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return with_headers
