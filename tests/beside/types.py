"""
Whether types fit; `make test` runs it beside the tests.

To look takes as long as thousands of tests do. So what was in order isn't looked at again before something changes: a
file, the packages that are installed, a rule.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).parents[2]
PLACES = ("src", "tests", "examples", "benchmarks")
RULES = ("pyproject.toml", "requirements-dev.lock")
STAMP = Path(sys.prefix, "types-in-order")
COMMAND = (sys.executable, "-m", "pyright", "--project", "pyproject.toml")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without what it has started
    now = state(TREE)
    if STAMP.exists() and STAMP.read_text() == now:
        print("Nothing has changed since types were in order.")
        return 0
    code = subprocess.run(COMMAND, cwd=TREE, check=False).returncode
    if code == 0:
        STAMP.write_text(now)
    return code


def state(tree: Path) -> str:
    """Of all that the answer depends on."""
    found = hashlib.sha256(repr(COMMAND).encode())
    files = [path for place in PLACES for path in (tree / place).rglob("*.py*") if path.suffix in {".py", ".pyi"}]
    for path in sorted([*files, *(tree / name for name in RULES)]):
        found.update(f"\n{path.relative_to(tree)} {path.stat().st_size}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
