"""The server itself: uvicorn around the application, on a socket that is bound first, so that its port is known."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from fanwood.server.app import create
from fanwood.server.gate import LARGEST_HEAD, LONGEST_URL

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fanwood.server.options import Options
    from fanwood.settings import Settings

HEAD_SECONDS = 10.0
"""How long a request's head may take to come, and how long a connection may stay without one."""
UNREAD_SECONDS = 30.0
"""How long an answer may stay unread. Without that who reads nothing would keep a connection for ever."""
CONNECTIONS = 1_000


class Protocol(H11Protocol):
    """HTTP/1.1 for clients in a hurry: who doesn't send a request in time is cut off, as is who reads no answer."""

    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    cycle: RequestResponseCycle | None  # pyright: ignore[reportIncompatibleVariableOverride]  # as it begins

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Asyncio: somebody is there."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._cut)

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio: they are gone."""
        self._stop_timer()
        self._is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Asyncio: they don't read as fast as we write."""
        super().pause_writing()
        self._expect_to_be_read()

    def resume_writing(self) -> None:
        """Asyncio: they have read most of it."""
        self._is_read()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Uvicorn: nothing more is asked."""
        super().timeout_keep_alive_handler()
        self._expect_to_be_read()

    def data_received(self, data: bytes) -> None:
        """Asyncio: some bytes."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        else:
            self._expect_a_head()

    def on_response_complete(self) -> None:
        """Uvicorn: a response is on its way. What has come of the next request meanwhile has its time as well."""
        super().on_response_complete()
        if self.cycle is not None and self.cycle.response_complete and self.conn.trailing_data[0]:
            self._expect_a_head()

    def _expect_a_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._cut)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cut(self) -> None:
        self._head_timer = None
        self.transport.close()
        self._expect_to_be_read()

    def _expect_to_be_read(self) -> None:
        """What is written is sent before a connection closes: not for ever."""
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self._give_up)

    def _is_read(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _give_up(self) -> None:
        self._unread_timer = None
        self.transport.abort()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: somebody else has it, or the address isn't ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


class Server(uvicorn.Server):
    """Says when it begins to serve, and ends its streams before it waits for what is under way."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_end = on_end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_end()  # streams would be waited for
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def serve(
    settings: Settings,
    options: Options,
    sock: socket.socket,
    *,
    reading: Settings | None = None,
    on_ready: Callable[[], None] = lambda: None,
    certificate: tuple[str, str | None] | None = None,
) -> None:
    """Until SIGINT or SIGTERM. `reading`: of a replica. `certificate`: its file, and that of its key."""
    app = create(settings, options, reading=reading)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=LONGEST_URL + LARGEST_HEAD,
        ssl_certfile=certificate[0] if certificate else None,
        ssl_keyfile=certificate[1] if certificate else None,
    )
    Server(config, on_ready, app.site.live.end).run(sockets=[sock])
