"""Packs the documentation into the wheel, for `fanwood docs`. An editable install reads it where it is."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DocsHook(BuildHookInterface):
    """Found by hatchling, since it is the only hook here."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is built; `version` is its kind."""
        if version != "editable":
            build_data["force_include"] |= {"docs": "fanwood/_docs", "README.md": "fanwood/_docs/OVERVIEW.md"}
