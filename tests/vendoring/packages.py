"""The pages' three libraries: fetched by npm, checked against pins, written as modules for browsers.

Imports by name need an import map, which is an inline script, which the pages' policy forbids. So names become paths.
Another version: change a pin, run `make vendor`, and read what changed.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).parents[2] / "src" / "fanwood" / "server" / "web" / "vendor"
_IMPORT = re.compile(r'(from\s*|import\s*)"([\w@/-]+)"')
_SOURCE_MAP = re.compile(r"\n?//# sourceMappingURL=.*")


@dataclass(frozen=True)
class Package:
    """A package of npm. `files`: what is taken, and how it is called here."""

    name: str
    version: str
    sha256: str  # of the archive
    files: dict[str, str]


PACKAGES = (
    Package(
        "preact",
        "11.2.0",
        "3c4456766bd32b6b534d52bf4e9c2a29b33e7eedf6e96ed479300ba1a7888ebf",
        {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "hooks.js", "LICENSE": "preact.LICENSE"},
    ),
    Package(
        "htm",
        "3.1.1",
        "2425b9bee11409177bcabc7f32e319926fc6690c1701c0b257c88bdff2d5ba90",
        {"dist/htm.mjs": "htm.js", "LICENSE": "htm.LICENSE"},
    ),
    Package(
        "@preact/signals-core",
        "1.14.5",
        "94c421ac996214c94f532fb4c43d8ede048a16df0cd9538ffb965174dbe8daba",
        {"dist/signals-core.mjs": "signals.js", "LICENSE": "signals.LICENSE"},
    ),
)
NAMES = {"preact": "./preact.js"}


def fetch(package: Package, folder: Path) -> Path:
    """The archive, as npm's own settings find it; refused unless it is the pinned one."""
    spec = f"{package.name}@{package.version}"
    packed = subprocess.run(["npm", "pack", "--silent", spec], cwd=folder, check=True, capture_output=True, text=True)
    archive = folder / packed.stdout.strip().splitlines()[-1]
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise SystemExit(f"{spec} is not what was pinned: its SHA-256 is {found}, and not {package.sha256}.")
    return archive


def unpack(package: Package, archive: Path) -> dict[str, str]:
    """Its files as they stand here, by name."""
    with tarfile.open(archive) as tar:
        found: dict[str, str] = {}
        for path, name in package.files.items():
            member = tar.extractfile(f"package/{path}")
            assert member is not None, path
            text = member.read().decode()
            found[name] = text if name.endswith("LICENSE") else _as_module(package, text)
        return found


def _as_module(package: Package, text: str) -> str:
    plain = _SOURCE_MAP.sub("", _IMPORT.sub(lambda match: f'{match[1]}"{NAMES[match[2]]}"', text)).strip()
    return f"/* {package.name} {package.version}, as published; its licence lies beside this file. */\n{plain}\n"
