"""Links between pages lead somewhere, headings included; links elsewhere are not followed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, named, prose

_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as its readers' software makes them."""
    titles = _HEADING.findall(prose(path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links(path: Path):
    broken: list[str] = []
    for target in _LINK.findall(prose(path.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or not there.is_relative_to(ROOT) or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_that_the_index_leads_to_every_page():
    index = {
        (ROOT / "docs" / target.partition("#")[0]).resolve()
        for page in ("docs/README.md", "docs/decisions/README.md")
        for target in _LINK.findall((ROOT / page).read_text(encoding="utf-8").replace("](0", "](decisions/0"))
    }
    missing = [named(path) for path in PAGES if path.is_relative_to(ROOT / "docs") and path.resolve() not in index]
    assert missing == ["docs/README.md"]


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_that_every_page_has_one_title(path: Path):
    assert len(re.findall(r"^# ", prose(path.read_text(encoding="utf-8")), re.MULTILINE)) == 1
