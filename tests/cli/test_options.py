"""Whatever is given to an option or an argument of whatever command: taken, or refused in short, by name, with 2."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from fanwood.cli.base import File
from fanwood.cli.main import cli

LONG = "x" * 100_000
HOSTILE = [
    *("nan", "inf", "-inf", "-1", "0", "1e400", "1.5", str(2**63), str(2**64), "9" * 5000, "9" * 400 + "d", "", " "),
    *("soon", "=", "a=b", "http://x", "\x1b[31m", "\ud800", "a\0b", LONG),
]
TAKEN = {"--input": "{}", "--since": "1h", "--older-than": "1h", "--lasts": "1d", "--port": "0", "--processes": "2"}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(cli))


def parsed(command: click.Command, parameter: click.Parameter, value: str) -> click.ClickException | None:
    """What is said about it; None: it is taken."""
    options = [p for p in command.params if p.required and isinstance(p, click.Option) and p is not parameter]
    fits = {option: "1" if isinstance(option.type, click.types.IntParamType) else "x" for option in options}
    needed = [text for option in options for text in (option.opts[0], fits[option])]
    arguments = [p for p in command.params if isinstance(p, click.Argument) and (p.required or p is parameter)]
    given = [value if p is parameter else "x" for p in arguments]
    own = [] if parameter in arguments else [f"{parameter.opts[0]}={value}"]
    try:
        command.make_context("it", [*needed, *own, "--", *given])
    except click.ClickException as error:
        return error
    return None


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_is_taken_or_refused(path):
    command = COMMANDS[path]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.is_flag:
            continue
        name = parameter.human_readable_name if isinstance(parameter, click.Argument) else parameter.opts[0]
        for value in HOSTILE:
            said = parsed(command, parameter, value)
            if said is not None:
                assert said.exit_code == 2
                assert name.strip("[].") in said.format_message(), (value, said.format_message())
                assert len(said.format_message()) < 1000
            elif path != ("bench",):  # which hands everything on
                assert "\0" not in value
                assert "\ud800" not in value or isinstance(parameter.type, File)


@pytest.mark.parametrize("option", ["--nonsense", f"--{LONG}"])
def test_what_there_is_not(invoke, option):
    for path in ((), ("runs",), ("runs", "ls")):
        result = invoke(*path, option)
        assert (result.exit_code, result.exception) == (2, result.exception)
        assert len(result.output) < 1000


@pytest.mark.parametrize(
    "args", [(LONG,), ("worker", LONG), ("run", "x", "--app", LONG), ("tree", LONG), ("demo", LONG)]
)
def test_a_very_long_word_is_not_said_again(invoke, args):
    result = invoke(*args)
    assert result.exit_code in (1, 2)
    assert 10 < len(result.output) < 2000


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--host", "a b", "neither a name nor an address"),
        ("--host", "http://x", "neither a name nor an address"),
        ("--host", "é" * 300, "neither a name nor an address"),
        ("--allow-host", "https://fanwood.example.com", "no NAME[:PORT]"),
        ("--allow-host", "fanwood:99999", "no NAME[:PORT]"),
        ("--allow-host", "*", None),
        ("--allow-host", "[::1]:9000", None),
        ("--trusted-proxy", "10.0.0.0/8", "takes an address"),
        ("--trusted-proxy", "proxy.example.com", "takes an address"),
        ("--trusted-proxy", "::0001", None),
        ("--group", "staff", "no NAME=ROLE"),
        ("--group", "=viewer", "no NAME=ROLE"),
        ("--group", "staff=boss", "There is no role 'boss'"),
        ("--group", "a=b=viewer", None),
        ("--port", "65536", "65535"),
    ],
)
def test_of_the_server(option, value, said):
    command = COMMANDS["ui",]
    parameter = next(p for p in command.params if option in p.opts)
    error = parsed(command, parameter, value)
    assert (error is None) == (said is None)
    assert error is None or (option in error.format_message() and said in error.format_message())


@pytest.mark.parametrize(
    "args", [("\x1b[0m", "--file", "f"), ("", "--file", "f"), ("a", "--file", "f", "--namespace", " ")]
)
def test_of_a_token(invoke, here, args):
    result = invoke("token", *args)
    assert result.exit_code == 2
    assert "must be printable text" in result.output
    assert not (here / "f").exists()
