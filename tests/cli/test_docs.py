"""`fanwood docs`, and what is packed for it."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.docs.pages import PAGES, ROOT, named, page


def names(invoke) -> list[str]:
    return [each["page"] for each in json.loads(invoke("docs", "--json").stdout)]


def test_that_every_page_is_listed_and_shown(invoke):
    listed = names(invoke)
    written = {
        named(path).removeprefix("docs/").removesuffix(".md") for path in PAGES if named(path).startswith("docs/")
    }
    assert sorted(listed) == sorted({*written, "overview"} - {"README"})
    assert invoke("docs").stdout.splitlines()[1].startswith("overview\tFanwood")
    assert invoke("docs", "howto/child-spawning").stdout == page("docs/howto/child-spawning.md")
    assert invoke("docs", "child-spawning").stdout == page("docs/howto/child-spawning.md")
    assert json.loads(invoke("docs", "tutorial", "--json").stdout)["title"] == "Tutorial"


@pytest.mark.parametrize(
    ("asked", "hint"), [("child-spawnin", "howto/child-spawning"), ("spawning", "howto/child-spawning")]
)
def test_a_page_that_there_is_not(invoke, asked: str, hint: str):
    result = invoke("docs", asked)
    assert result.exit_code == 2
    assert f"There is no page '{asked}'. Did you mean {hint}?" in result.stderr


def test_search(invoke):
    found = invoke("docs", "--search", "RUN A WHOLE DAG BACKWARDS")
    assert (found.exit_code, found.stdout) == (2, "")
    found = json.loads(invoke("docs", "tutorial", "--search", "fanwood doctor", "--json").stdout)
    assert found
    assert {each["page"] for each in found} == {"tutorial"}


@pytest.mark.parametrize(("kind", "packed"), [("standard", True), ("editable", False)])
def test_that_the_wheel_has_them(kind: str, packed: bool, tmp_path: Path):
    """As `fanwood docs` looks for them. An editable install must not leave a second, older copy behind."""
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=[kind])
    names = zipfile.ZipFile(wheel).namelist()
    assert ("fanwood/_docs/OVERVIEW.md" in names, "fanwood/_docs/howto/testing.md" in names) == (packed, packed)


def test_that_llms_txt_leads_to_every_page():
    linked = re.findall(r"\]\(([^)]+)\)", page("llms.txt"))
    assert all((ROOT / path).exists() for path in linked)
    assert {named(p) for p in PAGES if named(p).startswith("docs/") and "decisions" not in named(p)} <= {
        *linked,
        "docs/README.md",
    }
