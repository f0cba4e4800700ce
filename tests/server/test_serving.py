"""The server as it is: a socket, a process, slow and strange clients; and what it weighs."""

from __future__ import annotations

import ast
import http.client
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fanwood import Settings
from fanwood.cli import beside
from fanwood.cli.beside import Dashboard
from fanwood.server import serving
from fanwood.server.options import Options
from tests.architecture.sources import our_modules
from tests.semantics.test_streams import until
from tests.server.conftest import OWNER, World

SOON = 120


@pytest.fixture
def port(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server in a thread of this process, impatient with requests that don't come."""
    with served(world, monkeypatch, login=False) as port:
        yield port


@contextmanager
def served(
    world: World, monkeypatch: pytest.MonkeyPatch, certificate: tuple[str, str] | None = None, **options: Any
) -> Iterator[int]:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 3.0)
    sock, ready = serving.bind("127.0.0.1", 0), threading.Event()
    port = sock.getsockname()[1]
    servers: list[serving.Server] = []
    original = serving.Server.__init__

    def remember(self: serving.Server, *args, **named) -> None:
        servers.append(self)
        original(self, *args, **named)

    monkeypatch.setattr(serving.Server, "__init__", remember)
    monkeypatch.setattr("uvicorn.Server.capture_signals", _none)  # they are the main thread's
    settings = Settings.load(database_url=world.url)
    named: dict[str, Any] = {"on_ready": ready.set, "certificate": certificate}
    thread = threading.Thread(target=serving.serve, args=(settings, Options(port=port, **options), sock), kwargs=named)
    thread.start()
    assert ready.wait(SOON)
    yield port
    servers[0].should_exit = True
    thread.join(SOON)
    assert not thread.is_alive()


class _none:  # noqa: N801
    def __init__(self, *_) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_) -> None: ...


def said(port: int, *parts: bytes) -> bytes:
    """What comes back until the other end closes."""
    with socket.create_connection(("127.0.0.1", port), SOON) as connection:
        for part in parts:
            connection.sendall(part)
        found = bytearray()
        while some := connection.recv(65_536):
            found += some
        return bytes(found)


def test_real_requests(port: int):
    host = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\n"
    assert said(port, f"GET /healthz HTTP/1.1\r\n{host}\r\n".encode()).endswith(b"\r\n\r\nok\n")
    assert b'"runs":[' in said(port, f"GET /api/v1/trees HTTP/1.1\r\n{host}\r\n".encode())
    evil = b"GET /api/v1/trees HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert said(port, evil).startswith(b"HTTP/1.1 403 ")
    absolute = f"GET http://127.0.0.1:{port}/api/v1/trees HTTP/1.1\r\n{host}\r\n".encode()
    assert said(port, absolute).startswith(b"HTTP/1.1 404 ")
    for strange in (
        b"\r\n\r\n",
        b"\x16\x03\x01\x00" * 9,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ):
        answer = said(port, strange)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 414 ")), answer[:100]


def test_that_who_sends_nothing_or_too_slowly_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.server.test_serving.SOON", 25)  # (uvicorn's own patience is 30)
    with monkeypatch.context() as patch:
        patch.setattr(serving, "HEAD_SECONDS", 0.3)
        assert said(port) == b""
        assert said(port, b"GET / HTTP/1.1\r\n", b"Host: x") == b""
    whole = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    for parts in ((whole, b"GET / HT"), (whole + b"GET / HT",)):  # (begun after the response, or before it)
        assert said(port, *parts).count(b"HTTP/1.1 200") == 1


def test_by_https_with_a_certificate_of_its_own(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A token is exchanged for a cookie, which goes by https alone; who speaks http there hears nothing, and soon."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes certificates, isn't installed")
    files = certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    asked = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([openssl, *asked.split(), *names], check=True, capture_output=True)
    with served(world, monkeypatch, files, token=OWNER, secure=True) as port:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=SOON, context=ssl.create_default_context(cafile=certificate)
        )
        body = {"content-type": "application/json", "sec-fetch-site": "same-origin"}
        connection.request("POST", "/api/v1/login", msgspec.json.encode({"token": OWNER}), body)
        with connection.getresponse() as answer:
            cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-")
        assert {"Secure", "HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        for given, status in ((cookie.partition(";")[0], 200), ("__Host-fanwood=x", 401)):
            connection.request("GET", "/api/v1/me", headers={"cookie": given, "sec-fetch-site": "same-origin"})
            with connection.getresponse() as answer:
                assert (answer.status, b'"owner"' in answer.read()) == (status, status == 200)
        connection.close()
        assert said(port, f"GET /api/v1/me HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()) == b""
        strange = http.client.HTTPSConnection("127.0.0.1", port, timeout=SOON)
        with pytest.raises(ssl.SSLCertVerificationError):
            strange.request("GET", "/")


def test_the_server_beside_a_command(world: World):
    """`fanwood ui`, as the demo and `fanwood worker --ui` start it: there, and gone with its stdin."""
    with Dashboard(Settings.load(database_url=world.url), wanted=True, always=True) as dashboard:
        assert dashboard.is_there
        url, token = dashboard.home.split("#token=")
        assert len(token) > 40
        process = dashboard._process
        assert process is not None
        port = int(url.rstrip("/").rpartition(":")[2])
        head = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        assert b'"name":"owner"' in said(port, f"GET /api/v1/me HTTP/1.1\r\n{head}".encode())
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(SOON) in (0, -15, 143)


@pytest.mark.long
def test_a_server_beside_a_command_that_dies_is_replaced(world: World, capsys: Any, monkeypatch: Any):
    """For the pages that are open: at the same address, with the same token."""
    monkeypatch.setattr(beside, "SOON", 0.0)
    monkeypatch.setattr(beside, "PAUSE", 0.0)
    with Dashboard(Settings.load(database_url=world.url), wanted=True, always=True) as dashboard:
        home, first = dashboard.home, dashboard._process
        assert first is not None
        first.kill()
        until(lambda: dashboard._process not in (None, first))
        assert dashboard.home == home
        port = int(home.partition("/#")[0].rpartition(":")[2])
        head = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\nAuthorization: Bearer {dashboard._token}\r\n\r\n"
        assert b'"name":"owner"' in said(port, f"GET /api/v1/me HTTP/1.1\r\n{head}".encode())
        assert "the dashboard has ended, by signal 9; it is started again" in capsys.readouterr().err
        monkeypatch.setattr(beside, "SOON", 1e9)
        second = dashboard._process
        assert second is not None
        second.kill()
        dashboard.wait()
        assert not dashboard.is_there
        assert "there is no dashboard any more: " in capsys.readouterr().err


def test_a_command_does_not_wait_for_a_server_that_hangs(world: World, monkeypatch: Any):
    monkeypatch.setattr(beside, "LONGEST", 0.1)
    with Dashboard(Settings.load(database_url=world.url), wanted=True, always=True) as dashboard:
        process = dashboard._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
    assert process.returncode == -signal.SIGKILL


# --- what it is made of ----------------------------------------------------------------------------------------------


def test_that_importing_fanwood_imports_nothing_of_it():
    code = "import sys, fanwood; fanwood.Fanwood; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=SOON)
    imported = set(found.stdout.split())
    assert not imported & {"starlette", "uvicorn", "anyio", "h11", "idna", "fanwood.server", "fanwood.lens"}


def test_that_the_extra_is_six_packages_and_small():
    from importlib.metadata import distribution, requires

    from packaging.requirements import Requirement

    def needed(name: str) -> set[str]:
        found = [Requirement(text) for text in requires(name) or []]
        here = {
            one.name.lower().replace("_", "-")
            for one in found
            if one.marker is None or one.marker.evaluate({"extra": ""})
        }
        return here.union(*(needed(one) for one in here))

    core = needed("fanwood")
    extra = [Requirement(text) for text in requires("fanwood") or []]
    asked = {one.name for one in extra if one.marker is not None and one.marker.evaluate({"extra": "server"})} - core
    packages = asked.union(*(needed(name) for name in asked)) - core
    assert len(packages) <= 6, packages
    size = sum(
        Path(str(file.locate())).stat().st_size
        for name in packages
        for file in distribution(name).files or []
        if not str(file).endswith(".pyc") and Path(str(file.locate())).is_file()
    )
    assert size <= 4_000_000


REFUSED = {
    "requests", "urllib.request", "http.client", "httpx", "aiohttp", "ftplib", "smtplib", "importlib", "runpy",
    "fanwood.cli.loading",
}  # fmt: skip
CALLS = {"import_module", "__import__", "open_connection", "create_connection", "urlopen"}


def test_that_the_server_asks_nobody_and_imports_no_users_code():
    for name, module in our_modules().items():
        if not name.startswith("fanwood.server"):
            continue
        for node in ast.walk(module.tree):
            wrong = _imported(node) & REFUSED
            assert not wrong, (name, wrong)
            called = ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""
            assert called not in CALLS, (name, called)


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.ImportFrom):
        return {node.module or ""}
    return {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()


def test_the_sentence_without_the_extra(monkeypatch: pytest.MonkeyPatch, world: World):
    from click.testing import CliRunner

    from fanwood.cli.main import cli

    monkeypatch.setattr("fanwood.cli.ui.is_installed", lambda: False)
    found = CliRunner().invoke(cli, ["ui", "--url", world.url])
    assert found.exit_code == 2
    assert "pip install 'fanwood[server]'" in found.output


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--host", "0.0.0.0"], "--insecure-bind"),
        (["--host", "0.0.0.0", "--no-login"], "--no-login lets them in"),
        (["--trusted-proxy", "10.0.0.1"], "FANWOOD_UI_PROXY_SECRET"),
        (["--tokens", "/nothing/there"], "can't be read"),
        (["--group", "ops=king"], "no role"),
    ],
)
def test_what_is_refused_at_the_start(world: World, given: list[str], said: str):
    from click.testing import CliRunner

    from fanwood.cli.main import cli

    found = CliRunner().invoke(cli, ["ui", "--url", world.url, "--port", "0", *given])
    assert found.exit_code == 2, found.output
    assert said in found.output


def test_tokens_are_made(tmp_path: Path):
    from click.testing import CliRunner

    from fanwood.cli.main import cli
    from fanwood.server.identity import digest, read_tokens

    path = tmp_path / "tokens.jsonl"
    for name in ("ann", "bob"):
        found = CliRunner().invoke(cli, ["token", name, "--role", "operator", "--file", str(path), "--json"])
        about = msgspec.json.decode(found.output)
        assert about["token"].startswith("fw_")
        assert about["token"] not in path.read_text()
        assert read_tokens(path)[-1].sha256 == digest(about["token"])
    assert [token.name for token in read_tokens(path)] == ["ann", "bob"]
    assert path.stat().st_mode & 0o077 == 0
