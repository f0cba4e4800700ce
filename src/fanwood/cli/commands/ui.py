"""`fanwood ui`: the dashboard."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from fanwood.checks import shown
from fanwood.cli.arguments import run_ids
from fanwood.cli.base import Command, Common, File, common
from fanwood.errors import FanwoodError

if TYPE_CHECKING:
    from fanwood.server.identity import Role


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
    from fanwood.cli import ui

    ui.ui(common, run, opens, supervised, **given)
