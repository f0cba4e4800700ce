"""`fanwood ui`: the dashboard."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanwood.cli import looking, output
from fanwood.cli.base import Common, Sentence
from fanwood.cli.beside import INSTALL, is_installed, stop_with_stdin
from fanwood.cli.finding import find
from fanwood.cli.logging_setup import configure
from fanwood.ids import id_text

if TYPE_CHECKING:
    import socket

    from fanwood.server.options import Options
    from fanwood.store.store import Store


def ui(common: Common, run: str | None, opens: bool | None, supervised: bool, **given: Any) -> None:
    _check_installed()
    page = "" if run is None else looking.look(common, lambda store: _page(store, run, common))
    if supervised:
        threading.Thread(target=stop_with_stdin, name="fanwood-supervised", daemon=True).start()
    _check_reach(given)
    options = _options(given)
    sock = _bound(options.host, options.port)
    options = replace(options, port=sock.getsockname()[1])
    configure("warning", as_json=False)
    certificate = None if given["certificate"] is None else (given["certificate"], given["key"])
    _serve(options, sock, common, page, certificate, opens=output.on_terminal() if opens is None else opens)


def _check_installed() -> None:
    if not is_installed():
        raise Sentence(f"The dashboard needs two more packages, starlette and uvicorn: {INSTALL}")


def _options(given: dict[str, Any]) -> Options:
    from fanwood.ids import new_secret
    from fanwood.server.options import Options, Payloads

    tokens = Path(given["tokens"]) if given["tokens"] else None
    if tokens is not None:
        from fanwood.server.identity import read_tokens

        read_tokens(tokens)  # what is wrong with it is said now
    secret = os.environ.get("FANWOOD_UI_PROXY_SECRET", "")
    if given["proxies"] and not secret:
        raise Sentence("--trusted-proxy needs a secret that only the proxy knows, in FANWOOD_UI_PROXY_SECRET")
    token = os.environ.get("FANWOOD_UI_TOKEN") or new_secret()
    return Options(
        host=given["host"],
        port=given["port"],
        token=None if given["no_login"] else token,
        login=not given["no_login"],
        read_only=given["read_only"],
        payloads=Payloads(given["payloads"]),
        hosts=given["hosts"],
        secure=given["https"] or given["certificate"] is not None,
        tokens=tokens,
        proxies=frozenset(given["proxies"]),
        proxy_secret=secret,
        groups=given["groups"],
    )


def _check_reach(given: dict[str, Any]) -> None:
    """Nobody reads along, and nobody comes in, unless that is spelled out."""
    from fanwood.server.options import is_loopback

    if given["insecure_bind"] or is_loopback(given["host"]):
        return
    if given["no_login"]:
        raise Sentence(f"{given['host']} can be reached by others, and --no-login lets them in. Leave one of them out.")
    if given["certificate"] is None:
        raise Sentence(
            f"{given['host']} can be reached by others, and without TLS they could read along. Give it a certificate "
            f"(--tls-cert, --tls-key), or put a proxy with TLS before it and say --insecure-bind; or leave --host out."
        )


def _bound(host: str, port: int) -> socket.socket:
    from fanwood.server.serving import bind

    try:
        return bind(host, port)
    except OSError as error:
        raise Sentence(f"{host}:{port} can't be listened at: {error.strerror}. Another one? Try --port 0.") from None


async def _seen(_store: Store) -> None:
    """It was opened, and so made if there was none: an empty page is a better answer than none."""


async def _page(store: Store, run: str, common: Common) -> str:
    """Of a tree, or of a run in it."""
    record = await store.get(await find(store, run, common.settings().namespace))
    return f"{'t' if record.parent_id is None else 'r'}/{id_text(record.id)}"


def _serve(
    options: Options,
    sock: socket.socket,
    common: Common,
    page: str,
    certificate: tuple[str, str | None] | None,
    *,
    opens: bool,
) -> None:
    from fanwood.server.options import EVERYWHERE, bracketed
    from fanwood.server.serving import serve

    name = options.host if options.host not in EVERYWHERE else "localhost"
    url = f"{'http' if certificate is None else 'https'}://{bracketed(name)}:{options.port}/"
    link = f"{url}{page}" if options.token is None else f"{url}{page}#token={options.token}"

    def on_ready() -> None:
        if common.as_json:
            output.print_json({"url": url, "token": options.token, "link": link})
        else:
            output.print_line(link)
        if opens:
            click.launch(link)

    settings = common.settings()
    replica = os.environ.get("FANWOOD_UI_DATABASE_URL")
    reading = (
        replace(settings, database_url=replica, notify=False) if replica else None
    )  # a standby can't be listened to
    if not options.read_only:
        looking.look(common, _seen, create=True)
    with contextlib.suppress(KeyboardInterrupt):
        serve(settings, options, sock, reading=reading, on_ready=on_ready, certificate=certificate)
