"""Who asks for much and reads nothing of it doesn't keep a connection, though nothing is asked of them but patience."""

from __future__ import annotations

import re
import select
import socket
import urllib.request

import pytest

from fanwood.server import serving
from tests.server.conftest import World
from tests.server.test_serving import SOON, served

MANY = 4_000


def test_that_who_reads_nothing_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serving, "UNREAD_SECONDS", 0.3)
    with served(world, monkeypatch) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=SOON) as answer:
            found = re.search(rb"/static/[0-9a-f]+/main\.js", answer.read())
        assert found is not None
        path = found[0].decode().replace("main.js", "vendor/preact.js")
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", port), SOON) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            try:  # (it needs no login for that; all of the answers are more than anything in between holds)
                connection.sendall(request * MANY)
            except ConnectionError:
                return
            gone = select.poll()
            gone.register(connection, 0)
            assert gone.poll(SOON * 1000)
