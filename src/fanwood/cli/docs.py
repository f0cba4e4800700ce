"""`fanwood docs`: the documentation, from the installed package, without a network."""

from __future__ import annotations

import contextlib
import difflib
import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from fanwood.cli import output
from fanwood.cli.base import Sentence
from fanwood.cli.output import Column

PACKAGE = Path(__file__).parents[1]
WIDEST = 100
"""Longer lines are hard to read."""
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def pages_named(incomplete: str) -> list[CompletionItem]:
    """Those that begin so, for a shell: how-tos and the like also by the last part of their name."""
    names = [*(pages := _pages()), *(name.rpartition("/")[2] for name in pages if not name.startswith("decisions/"))]
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)]


def docs(page: str | None, search: str | None, serve: bool, port: int, as_json: bool) -> None:
    pages = _pages()
    if serve:
        _serve(pages, _named(page, pages) if page else "", port)
    elif search is not None:
        chosen = {page: pages[_named(page, pages)]} if page else pages
        _show_found([(name, *each) for name, file in chosen.items() for each in _lines(file, search)], as_json)
    elif page is not None:
        name = _named(page, pages)
        _show(name, pages[name].read_text(encoding="utf-8"), as_json)
    else:
        titles = {name: _title(file.read_text(encoding="utf-8")) for name, file in pages.items()}
        if as_json:
            output.print_json([{"page": name, "title": title} for name, title in titles.items()])
        else:
            output.print_table([Column("PAGE"), Column("ABOUT")], titles.items())


def _serve(pages: dict[str, Path], page: str, port: int) -> None:
    from fanwood.cli.reading import DocsServer

    try:
        server = DocsServer(pages, port)
    except OSError as error:
        raise Sentence(f"The documentation can't be served on port {port}: {error.strerror}") from None
    with server, contextlib.suppress(KeyboardInterrupt):
        click.echo(f"{server.address}{page and page + '.md'}")
        output.note("The documentation is served to this machine alone. Ctrl-C stops it.")
        server.serve_forever()


def _pages() -> dict[str, Path]:
    """Files by name. They are packed into the wheel; in a checkout they stand beside the source."""
    packed, checkout = PACKAGE / "_docs", PACKAGE.parents[1]
    folder, readme = (
        (packed, packed / "OVERVIEW.md") if packed.is_dir() else (checkout / "docs", checkout / "README.md")
    )
    if not readme.exists():
        raise Sentence(
            f"The documentation is not where it should be, in {folder}: it was left out of this installation"
        )
    files = {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.md"))}
    return {"overview": readme} | {name: file for name, file in files.items() if name not in ("OVERVIEW", "README")}


def _named(asked: str, pages: dict[str, Path]) -> str:
    wanted = asked.removesuffix(".md").removeprefix("docs/").lower()
    found = [name for name in pages if name == wanted] or [name for name in pages if wanted in name.split("/")[-1:]]
    if len(found) == 1:
        return found[0]
    tails = {name.rpartition("/")[2]: name for name in pages}
    close = difflib.get_close_matches(wanted, tails, n=1) or [tail for tail in tails if wanted and wanted in tail][:1]
    hint = f" Did you mean {tails[close[0]]}?" if close else ""
    raise Sentence(
        f"There is no page {asked!r}.{hint} fanwood docs lists them; fanwood docs --search TEXT looks into them"
    )


def _lines(file: Path, text: str) -> list[tuple[int, str]]:
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    return [(number, line) for number, line in lines if text.lower() in line.lower()]


def _show_found(found: list[tuple[str, int, str]], as_json: bool) -> None:
    if as_json:
        output.print_json([{"page": page, "line": line, "text": text} for page, line, text in found])
        return
    for page, line, text in found:
        click.echo(f"{page}:{line}: {text}")
    if not found:
        raise Sentence("No page has that")


def _show(name: str, text: str, as_json: bool) -> None:
    if as_json:
        output.print_json({"page": name, "title": _title(text), "text": text})
    elif output.on_terminal():
        from rich.markdown import Markdown

        console = output.console()
        console.print(Markdown(text), width=min(console.width, WIDEST))
    else:
        click.echo(text, nl=False)


def _title(text: str) -> str:
    found = _TITLE.search(text)
    return found[1] if found else ""
