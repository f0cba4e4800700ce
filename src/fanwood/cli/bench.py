"""`fanwood bench`: the benchmarks of a checkout."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from fanwood.cli.base import Sentence


def measure(args: tuple[str, ...]) -> None:
    folder = _checkout()
    if folder is None:
        raise Sentence(
            f"There are no benchmarks in {Path.cwd()}: they come with the source, not with the installed package. "
            f"Run this in a checkout of Fanwood."
        )
    sys.path.insert(0, str(folder))
    raise SystemExit(importlib.import_module("benchmarks.__main__").main(list(args)))


def _checkout() -> Path | None:
    """A folder with benchmarks of ours: this one, or the one that the package's source is in."""
    for folder in (Path.cwd(), Path(__file__).parents[3]):
        if (folder / "benchmarks" / "__main__.py").exists() and (folder / "src" / "fanwood").is_dir():
            return folder
    return None
