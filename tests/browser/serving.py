"""A server with the pages, on a thread of this process and a port of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from fanwood import Settings
from fanwood.clock import Clock
from fanwood.server.app import create
from fanwood.server.options import Options

TOKEN = "a-token-of-tests-0123456789"
PATIENCE = 60.0


@dataclass(frozen=True)
class Site:
    """Where a server listens."""

    host: str
    url: str  # of the store

    def at(self, path: str = "/", token: str = TOKEN) -> str:
        """The link to a page, as it is printed: with the token."""
        return f"http://{self.host}{path}{f'#token={token}' if token else ''}"


@contextmanager
def serving(url: str, clock: Clock | None = None, **options: Any) -> Iterator[Site]:
    """The pages of that store, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        told = Options(port=port, **{"token": TOKEN, **options})
        app = create(Settings.load(database_url=url), told, clock=clock)
        config = uvicorn.Config(
            app, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Site(f"127.0.0.1:{port}", url)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()
