"""The files for containers and systemd in the documentation name commands, settings and extras that there are."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from fanwood import Settings
from fanwood.cli.main import cli
from tests.docs.pages import PAGES, blocks

ROOT = Path(__file__).parents[2]
FILES = [block.text for path in PAGES if path.name == "containers.md" for block in blocks(path)]
DOCKERFILE = next(text for text in FILES if text.startswith("FROM "))
DEPLOYMENT: Any = yaml.safe_load(next(text for text in FILES if text.startswith("apiVersion")))
UNIT = configparser.RawConfigParser(interpolation=None)
UNIT.optionxform = str  # type: ignore[assignment,method-assign]
UNIT.read_string(next(text for text in FILES if "[Unit]" in text))
(POD,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
BRACKETS = {
    name: json.loads(given) for name, given in re.findall(r"^(CMD|ENTRYPOINT) (\[.*\])$", DOCKERFILE, re.MULTILINE)
}


@pytest.mark.parametrize(
    "arguments",
    [
        [*BRACKETS["ENTRYPOINT"], *BRACKETS["CMD"]],
        [*BRACKETS["ENTRYPOINT"], *POD["args"]],
        shlex.split(UNIT["Service"]["ExecStart"]),
    ],
    ids=["docker", "kubernetes", "systemd"],
)
def test_its_command_is_one(arguments: list[str]) -> None:
    program, name, *options = arguments
    assert Path(program).name == "fanwood"
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    made = command.make_context(name, options)  # raises for an option or a value that there isn't
    assert made.params["target"] == "app:fanwood"


def test_what_is_named_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = re.findall(r"fanwood\[([\w,]+)\]", DOCKERFILE)[0].split(",")
    assert set(extras) <= project["optional-dependencies"].keys()
    python = re.findall(r"^FROM python:3\.(\d+)", DOCKERFILE)[0]
    assert int(python) >= int(re.findall(r">=3\.(\d+)", project["requires-python"])[0])
    settings = {f"FANWOOD_{name.upper()}" for name in Settings.__dataclass_fields__}
    assert {each["name"] for each in POD["env"]} <= settings
    assert set(re.findall(r"FANWOOD_[A-Z_]+", "".join(FILES))) <= settings


def test_there_is_time_enough_to_stop() -> None:
    grace = Settings().grace
    assert DEPLOYMENT["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > grace
    assert int(UNIT["Service"]["TimeoutStopSec"]) > grace


def test_labels_select_the_pod() -> None:
    spec = DEPLOYMENT["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
