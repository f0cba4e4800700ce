"""What the pages are made of: small, theirs alone, and nothing in them that their policy would refuse."""

from __future__ import annotations

import gzip
import re

import pytest

from fanwood.server.static import served
from tests.vendoring.modules import FRAME, WEB, frame, imported, needed, sources
from tests.vendoring.packages import PACKAGES, VENDOR

AT_MOST = 57_000
"""Bytes, gzipped, before a tree is shown: 60 kB are asked, and what comes next needs some room."""
MAX_LINES = 450


def test_all_that_is_imported_is_here():
    missing = [
        f"{path.relative_to(WEB)}: {name}"
        for path in [*sources(), *VENDOR.glob("*.js")]
        for name in imported(path)
        if not name.startswith(".") or not (path.parent / name).is_file()
    ]
    assert not missing


def test_libraries_stand_beside_their_licences():
    files = {name for package in PACKAGES for name in package.files.values()}
    assert {path.name for path in VENDOR.iterdir()} == files
    assert {f"{name.partition('.')[0]}.LICENSE" for name in files} - {"hooks.LICENSE"} <= files


def test_the_frame_names_what_a_tree_needs():
    assert FRAME.read_text(encoding="utf-8") == frame(), "make vendor writes the frame's hints anew"


def test_what_a_tree_needs_is_small():
    styles = re.findall(r"/static/-/(styles/[a-z]+\.css)", FRAME.read_text(encoding="utf-8"))
    sizes = {name: len(gzip.compress(served(WEB / name), 9)) for name in [FRAME.name, *needed(), *styles]}
    assert sum(sizes.values()) <= AT_MOST, sorted(sizes.items(), key=lambda item: -item[1])[:12]


@pytest.mark.parametrize(
    "what",
    [
        r"\binnerHTML\b|\bouterHTML\b|insertAdjacentHTML|dangerouslySetInnerHTML|document\.write",
        r"\beval\(|new Function\(",
        r"""[ `]style=["']""",
        r"[ `]on[a-z]+=",  # attributes that are code; ours begin with a capital
        r"https?://(?!www\.w3\.org/2000/svg)",
        r"\bsrcdoc\b|javascript:",
    ],
)
def test_nothing_that_the_policy_refuses(what: str):
    found = [
        f"{path.relative_to(WEB)}:{number}: {line.strip()}"
        for path in [*sources(), FRAME, *WEB.rglob("*.css"), *WEB.rglob("*.svg")]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(what, line)
    ]
    assert not found


def test_comments_are_not_transferred_and_lines_stay_where_they_are():
    for path in sources():
        before, after = path.read_bytes(), served(path)
        assert before.count(b"\n") == after.count(b"\n")
        assert b"@param" not in after
        assert [line for line in after.splitlines() if line.lstrip().startswith((b"//", b"*", b"/*"))] == []


def test_modules_are_small():
    assert [path.name for path in sources() if len(path.read_text(encoding="utf-8").splitlines()) > MAX_LINES] == []


def test_colours_and_sizes_of_type_are_named_once():
    found = [
        f"{path.name}: {line.strip()}"
        for path in (WEB / "styles").glob("*.css")
        if path.name != "tokens.css"
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"#[0-9a-f]{3,8}\b", line)
    ]
    assert not found
