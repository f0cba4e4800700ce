"""The pages' modules, and which of them a browser should fetch at once: `modulepreload` in the frame."""

from __future__ import annotations

import re
from pathlib import Path

WEB = Path(__file__).parents[2] / "src" / "fanwood" / "server" / "web"
FRAME = WEB / "index.html"
AT_ONCE = ("main.js", "pages/tree.js")
"""Where everything begins, and the page that is opened most. The others come when they are asked for."""
_IMPORT = re.compile(
    r"""^(?:import|export)\b[^;"'`]*?\bfrom ?["']([^"']+)["']|^import ?["']([^"']+)["']""", re.MULTILINE
)
_HINT = re.compile(r'(?:<link rel="modulepreload"[^\n]*\n)+')


def sources() -> list[Path]:
    """Our own modules."""
    return [path for path in sorted(WEB.rglob("*.js")) if path.parent.name != "vendor"]


def imported(path: Path) -> list[str]:
    """What it imports, as it is written there."""
    return [first or second for first, second in _IMPORT.findall(path.read_text(encoding="utf-8"))]


def needed() -> list[str]:
    """The modules that are fetched before a tree is shown."""
    found: set[Path] = set()
    todo = [WEB / name for name in AT_ONCE]
    while todo:
        path = todo.pop().resolve()
        if path not in found:
            found.add(path)
            todo += [path.parent / name for name in imported(path) if name.startswith(".")]
    return sorted(path.relative_to(WEB).as_posix() for path in found)


def frame() -> str:
    """The frame, with hints for exactly these."""
    hints = "".join(f'<link rel="modulepreload" href="/static/-/{name}">\n' for name in needed() if name != "main.js")
    return _HINT.sub(hints, FRAME.read_text(encoding="utf-8"), count=1)
