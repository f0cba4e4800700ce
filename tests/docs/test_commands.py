"""Commands in the documentation are commands that there are, and the reference of the command line is complete."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

import fanwood
from fanwood.cli.main import cli
from tests.docs.pages import PAGES, blocks, named, page, section

SHOWN = sorted(
    {
        line.removeprefix("$ ").partition("  #")[0]
        for path in PAGES
        for block in blocks(path)
        if block.info == "console"
        for line in block.text.splitlines()
        if line.startswith("$ fanwood ")
    }
)
WEB = Path(fanwood.__file__).parent / "server" / "web"
ON_PAGES = sorted(
    {
        re.sub(r"\$\{.*?\}", "x", line)
        for path in WEB.rglob("*.js")
        for line in re.findall(r"<code>(fanwood .*?)</code>", path.read_text())
    }
)
EVERYWHERE = {"--url", "--json", "--help"}


def leaves(command: click.Command, name: str) -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {name: command}
    found: dict[str, click.Command] = {}
    for below in command.list_commands(click.Context(command)):
        further = command.get_command(click.Context(command), below)
        assert further is not None
        found |= leaves(further, f"{name} {below}")
    return found


LEAVES = leaves(cli, "fanwood")


@pytest.mark.parametrize("line", [*SHOWN, *ON_PAGES])
def test_that_the_command_line_takes_it(line: str):
    words = shlex.split(line)
    name = next(n for n in (" ".join(words[:3]), " ".join(words[:2])) if n in LEAVES)
    context = LEAVES[name].make_context(name, words[len(name.split()) :])
    assert ":" in (context.params.get("target") or ":"), "what a worker serves is named module:object"


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_that_every_command_and_option_is_in_the_reference(name: str):
    text = page("docs/reference/cli.md")
    level = "###" if len(name.split()) == 3 else "##"
    described = section(text, f"{level} `{name}`")
    for parameter in LEAVES[name].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            for option in parameter.opts:
                assert option in (text if option in EVERYWHERE else described), option


def test_that_the_reference_invents_no_options():
    known = {
        option
        for leaf in LEAVES.values()
        for parameter in leaf.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    known |= {"--version", "--help", "-h", "--"}
    text = page("docs/reference/cli.md")
    written = {word for span in text.split("`")[1::2] for word in span.split() if word.startswith("-")}
    assert {word for word in written if word.startswith("--")} <= known


def test_that_pages_were_looked_at():
    assert len(SHOWN) > 10, [named(path) for path in PAGES]
