"""`fanwood ui`: the dashboard."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanwood.checks import shown
from fanwood.cli import looking, output
from fanwood.cli.base import Command, Common, Exit, File, Sentence, common
from fanwood.cli.beside import INSTALL, is_installed, stop_with_stdin
from fanwood.cli.finding import find, run_ids
from fanwood.cli.logging_setup import configure
from fanwood.errors import FanwoodError
from fanwood.ids import id_text

if TYPE_CHECKING:
    import socket

    from fanwood.server.identity import Role
    from fanwood.server.options import Options
    from fanwood.store.store import Store

DEFAULT_PORT, MAX_PORT = 8765, 65535
_NAME = r"[^\s/:@\[\]?#]{1,253}"
_HOST = re.compile(rf"{_NAME}|[0-9A-Fa-f:.]{{2,45}}")
_WITH_PORT = re.compile(rf"(?:{_NAME}|\[[0-9A-Fa-f:.]{{2,45}}\])(?::([0-9]{{1,5}}))?")


def _host(_: click.Context, __: click.Parameter, given: str) -> str:
    if _HOST.fullmatch(given) is None:
        raise click.BadParameter(f"{shown(given)} is neither a name nor an address, such as 127.0.0.1.")
    return given


def _hosts(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    for name in given:
        match = _WITH_PORT.fullmatch(name)
        if match is None or int(match[1] or 0) > MAX_PORT:
            raise click.BadParameter(f"{shown(name)} is no NAME[:PORT], such as fanwood.example.com.")
    return tuple(name.lower() for name in given)


def _proxies(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """As the socket will name them."""
    try:
        return tuple(str(ip_address(address)) for address in given)
    except ValueError as error:
        raise click.BadParameter(f"It takes an address, such as 10.0.0.7: {error}") from None


def _groups(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Role]:
    from fanwood.server.identity import role_named

    found: dict[str, Role] = {}
    for group in given:
        name, _equals, role = group.rpartition("=")
        if not name:
            raise click.BadParameter(f"{shown(group)} is no NAME=ROLE, such as staff=viewer.")
        try:
            found[name] = role_named(role)
        except FanwoodError as error:
            raise click.BadParameter(f"{shown(group)}: {error}") from None
    return found


@click.command(
    name="ui",
    cls=Command,
    epilog="Examples:\n  fanwood ui\n  fanwood ui @last\n  fanwood ui --read-only --port 9000\n"
    "  fanwood ui --host 0.0.0.0 --insecure-bind --allow-host fanwood.example.com\n\n"
    "JSON: {url, token, link}, one line as soon as it listens.",
)
@click.argument("run", required=False, shell_complete=run_ids)
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, callback=_host, help="Where to listen."
)
@click.option(
    "--port", metavar="N", type=click.IntRange(0, MAX_PORT), default=DEFAULT_PORT, show_default=True, help="0: any."
)
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME[:PORT]",
    multiple=True,
    callback=_hosts,
    help="A name that browsers reach it by.",
)
@click.option("--no-login", is_flag=True, help="Ask for no token: whoever reaches it may do everything.")
@click.option("--read-only", is_flag=True, help="Show, and do nothing.")
@click.option(
    "--payloads",
    type=click.Choice(["all", "operator", "none"]),
    default="operator",
    show_default=True,
    help="Who may see inputs and outputs.",
)
@click.option(
    "--tokens", metavar="FILE", type=File(), envvar="FANWOOD_UI_TOKENS", help="Of others: see `fanwood token`."
)
@click.option("--tls-cert", "certificate", metavar="FILE", type=File(), help="Serve https with this certificate.")
@click.option("--tls-key", "key", metavar="FILE", type=File(), help="... and this key.")
@click.option("--https", is_flag=True, help="Browsers reach it by https, since a proxy before it has the certificate.")
@click.option(
    "--trusted-proxy",
    "proxies",
    metavar="ADDRESS",
    multiple=True,
    callback=_proxies,
    help="Whose headers say who asks, if they know $FANWOOD_UI_PROXY_SECRET.",
)
@click.option(
    "--group",
    "groups",
    metavar="NAME=ROLE",
    multiple=True,
    callback=_groups,
    help="What a group of the proxy's users may do.",
)
@click.option("--open/--no-open", "opens", default=None, help="Open a browser. Default: in a terminal.")
@click.option("--supervised", is_flag=True, hidden=True, help="Stop when stdin ends: the supervisor is gone.")
@click.option("--insecure-bind", is_flag=True, help="Listen elsewhere than on this machine without TLS.")
@common
def command(common: Common, run: str | None, opens: bool | None, supervised: bool, **given: Any) -> None:
    """Serve the dashboard and its API, for a browser on this machine; RUN: it opens with that one.

    It prints a link with a token that changes with each start. Ctrl-C ends it.
    """
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
    try:
        serve(settings, options, sock, reading=reading, on_ready=on_ready, certificate=certificate)
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
