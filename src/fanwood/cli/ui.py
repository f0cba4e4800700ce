"""`fanwood ui`: the dashboard."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from fanwood.cli import looking, output
from fanwood.cli.base import Command, Common, Exit, Sentence, common
from fanwood.cli.finding import find, run_ids
from fanwood.cli.logging_setup import configure
from fanwood.ids import id_text

if TYPE_CHECKING:
    import socket

    from fanwood.server.options import Options
    from fanwood.store.store import Store

DEFAULT_PORT = 8765


@click.command(
    name="ui",
    cls=Command,
    epilog="Examples:\n  fanwood ui\n  fanwood ui @last\n  fanwood ui --read-only --port 9000\n"
    "  fanwood ui --host 0.0.0.0 --insecure-bind --allow-host fanwood.example.com\n\n"
    "JSON: {url, token, link}, one line as soon as it listens.",
)
@click.argument("run", required=False, shell_complete=run_ids)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", metavar="N", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0: any."
)
@click.option("--allow-host", "hosts", metavar="NAME[:PORT]", multiple=True, help="A name that browsers reach it by.")
@click.option("--no-login", is_flag=True, help="Ask for no token: whoever reaches it may do everything.")
@click.option("--read-only", is_flag=True, help="Show, and do nothing.")
@click.option(
    "--payloads",
    type=click.Choice(["all", "operator", "none"]),
    default="operator",
    show_default=True,
    help="Who may see inputs and outputs.",
)
@click.option("--open/--no-open", "opens", default=None, help="Open a browser. Default: in a terminal.")
@click.option("--insecure-bind", is_flag=True, help="Listen elsewhere than on this machine without TLS.")
@common
def command(common: Common, run: str | None, opens: bool | None, **given: Any) -> None:
    """Serve the dashboard and its API, for a browser on this machine; RUN: it opens with that one.

    It prints a link with a token that changes with each start. Ctrl-C ends it.
    """
    _check_installed()
    page = "" if run is None else looking.look(common, lambda store: _page(store, run, common))
    options, sock = _prepared(**given)
    configure("warning", as_json=False)
    _serve(options, sock, common, page, opens=output.on_terminal() if opens is None else opens)


def _check_installed() -> None:
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise Sentence("The dashboard needs two more packages, starlette and uvicorn: pip install 'fanwood[server]'")


def _prepared(
    *, host: str, port: int, hosts: tuple[str, ...], no_login: bool, read_only: bool, payloads: str, insecure_bind: bool
) -> tuple[Options, socket.socket]:
    from fanwood.ids import new_secret
    from fanwood.server.options import Options, Payloads, is_loopback
    from fanwood.server.serving import bind

    if not is_loopback(host) and not insecure_bind:
        raise Sentence(
            f"{host} can be reached by others, and without TLS they could read along. Put a proxy with TLS before it, "
            f"and say --insecure-bind; or leave --host out."
        )
    try:
        sock = bind(host, port)
    except OSError as error:
        raise Sentence(f"{host}:{port} can't be listened at: {error.strerror}. Another one? Try --port 0.") from None
    options = Options(
        host=host,
        port=sock.getsockname()[1],
        token=None if no_login else new_secret(),
        login=not no_login,
        read_only=read_only,
        payloads=Payloads(payloads),
        hosts=tuple(name.lower() for name in hosts),
    )
    return options, sock


async def _page(store: Store, run: str, common: Common) -> str:
    """Of a tree, or of a run in it."""
    record = await store.get(await find(store, run, common.settings().namespace))
    return f"{'t' if record.parent_id is None else 'r'}/{id_text(record.id)}"


def _serve(options: Options, sock: socket.socket, common: Common, page: str, *, opens: bool) -> None:
    from fanwood.server.serving import serve

    settings = common.settings()
    name = options.host if options.host not in ("0.0.0.0", "::") else "localhost"  # noqa: S104  (compared only)
    url = f"http://{f'[{name}]' if ':' in name else name}:{options.port}/"
    link = f"{url}{page}" if options.token is None else f"{url}{page}#token={options.token}"

    def on_ready() -> None:
        if common.as_json:
            output.print_json({"url": url, "token": options.token, "link": link})
        else:
            output.print_line(link)
        if opens:
            click.launch(link)

    try:
        serve(settings, options, sock, on_ready=on_ready)
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
