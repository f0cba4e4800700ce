"""`fanwood docs`, and what is packed for it."""

from __future__ import annotations

import http.client
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from fanwood.cli.reading import DocsServer, as_html
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


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Callable[[str], tuple[int, str]]]:
    """Asks a server for a path, just as it is written."""
    files = {"overview": ROOT / "README.md", "howto/workers": ROOT / "docs/howto/workers.md"}
    with DocsServer(files, 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def ask(path: str) -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=300)
            connection.putrequest("GET", path, skip_host=False)
            connection.endheaders()
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            return answer.status, text

        yield ask
        server.shutdown()
        thread.join()


def test_pages_are_served_as_they_link_to_each_other(ask):
    status, text = ask("/")
    assert (status, '<h1 id="fanwood">Fanwood</h1>' in text) == (200, True)
    assert "&lt;!--" not in text
    for path in ("/howto/workers", "/howto/workers.md", "/docs/howto/workers.md", "/howto/workers.md?x#y"):
        status, text = ask(path)
        assert (status, 'id="how-to-run-workers"' in text) == (200, True), path
    assert "<table>" in ask("/")[1]
    assert '<a href="/howto/workers.md">' in ask("/index")[1]


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml", "/..%2f..%2fetc%2fpasswd", "/docs/../../../../etc/passwd", "//etc/passwd", "/%00",
        "/howto", "/howto/workers.md/../../../LICENSE", "/file:///etc/passwd", "/howto/other",
    ],
)  # fmt: skip
def test_nothing_but_pages_is_served(ask, path: str):
    status, text = ask(path)
    assert status == 404
    assert "There is no such page here" in text
    assert "root:" not in text


def test_what_is_html_in_a_page_is_shown_as_text():
    shown = as_html("# A `b`, c!\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1))\n")
    assert '<h1 id="a-b-c">' in shown
    assert "<script>" not in shown
    assert 'href="javascript' not in shown
