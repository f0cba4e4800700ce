"""Every Python snippet of the documentation is run.

The blocks of one page are one program: they are run in order, in one namespace, with a database of their own. A block
of ```text right after a block of Python is what that block prints. Tests that take the fixture `fanwood_app` are run as
pytest would run them, when all blocks have been. A block after `<!-- file: path -->` is that file.
Pages whose blocks are files to be put on disk (the tutorial) have a test of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fanwood import Fanwood
from fanwood.testing import on_memory
from tests.docs.pages import PAGES, ROOT, Block, blocks, named

if TYPE_CHECKING:
    from pathlib import Path

ON_DISK = "docs/tutorial.md"
WITH_PYTHON = [p for p in PAGES if named(p) != ON_DISK and any(b.info.startswith("python") for b in blocks(p))]


@pytest.mark.parametrize("path", WITH_PYTHON, ids=named)
def test_snippets(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FANWOOD_DATABASE_URL", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [named(path)])
    page_blocks = blocks(path)
    namespace: dict[str, Any] = {"__name__": "a_page"}
    apps: list[Fanwood] = []
    try:
        for number, block in enumerate(page_blocks):
            if block.info == "python":
                follower = page_blocks[number + 1] if number + 1 < len(page_blocks) else None
                expected = follower.text if follower is not None and follower.info == "text" else ""
                assert _run(block, path, namespace) == expected, f"{named(path)}:{block.line}"
                apps += [
                    value for value in namespace.values() if isinstance(value, Fanwood)
                ]  # the next block may take its name
        _run_tests(namespace)
    finally:
        for app in [*apps, *(value for value in namespace.values() if isinstance(value, Fanwood))]:
            app.close()


def _run(block: Block, path: Path, namespace: dict[str, Any]) -> str:
    # Empty lines in front, so that a traceback names the line of the page.
    code = compile("\n" * (block.line - 1) + block.text, str(path), "exec", dont_inherit=True)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, namespace)
    return output.getvalue()


def _run_tests(namespace: dict[str, Any]) -> None:
    for name, test in list(namespace.items()):
        if name.startswith("test_") and "fanwood_app" in inspect.signature(test).parameters:
            with on_memory() as app:
                result = test(app)
                if inspect.isawaitable(result):
                    asyncio.run(_awaited(result))


async def _awaited(awaitable: Any) -> None:
    await awaitable


def test_that_shown_files_are_the_files():
    shown = [(named(path), block) for path in PAGES for block in blocks(path) if block.file is not None]
    assert shown
    for name, block in shown:
        text = (ROOT / str(block.file)).read_text(encoding="utf-8")
        assert block.text.strip() in text, f"{name}:{block.line} is no longer what {block.file} says"


def test_that_every_block_says_what_it_is():
    known = {"python", "text", "console", "sql", "mermaid", "json", "toml", "ini", "sh"}
    for path in PAGES:
        for block in blocks(path):
            assert block.info in known, f"{named(path)}:{block.line}: a block of {block.info!r}"
