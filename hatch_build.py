"""Packs the pages of the documentation into the wheel, for `fanwood docs`, and not its pictures. An editable install
reads them where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DocsHook(BuildHookInterface):
    """Found by hatchling, since it is the only hook here."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is built; `version` is its kind."""
        if version != "editable":
            docs = Path(self.root) / "docs"
            pages = {str(page): f"fanwood/_docs/{page.relative_to(docs).as_posix()}" for page in docs.rglob("*.md")}
            build_data["force_include"] |= pages | {"README.md": "fanwood/_docs/OVERVIEW.md"}
