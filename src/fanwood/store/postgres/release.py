"""What one version of Fanwood makes of a schema: numbered steps, applied once each, and a layer of functions.

The functions of a layer carry its number in their names (`fw1_commit`), and two layers stand side by side: the one that
was released last, and the one before, which workers of the version before go on calling while they are replaced.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

LAYER = 1
"""The number of the layer in `functions/`: one more with each release that changes it."""
_PREFIX = re.compile(r"\bfw_")
_OUTSIDE = "-- no transaction"


def _checksum(text: str) -> str:
    """Equal only for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def in_layer(text: str, layer: int) -> str:
    """SQL that names functions and types `fw_...`, as it is with this layer."""
    return _PREFIX.sub(f"fw{layer}_", text)


@dataclass(frozen=True, slots=True)
class Step:
    """One migration. One whose first line is `-- no transaction` is executed statement by statement, each by itself
    (`create index concurrently` wants it so); all of them must be safe to repeat."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Equal only for the same text."""
        return _checksum(self.text)

    @property
    def outside(self) -> bool:
        """Whether it must not be in a transaction."""
        return self.text.startswith(_OUTSIDE)

    @property
    def statements(self) -> list[str]:
        """Of one outside a transaction: each by itself."""
        return [part.strip() for part in re.split(r";\s*$", self.text, flags=re.MULTILINE) if part.strip()]


@dataclass(frozen=True)
class Release:
    """One version's steps and functions."""

    steps: tuple[Step, ...]
    layer: int
    functions: str

    @property
    def number(self) -> int:
        """The schema's version."""
        return self.steps[-1].number

    @property
    def layer_name(self) -> str:
        """What applying its functions is called, among steps."""
        return f"functions {self.layer}"

    @cached_property
    def layer_checksum(self) -> str:
        """Equal only for the same functions."""
        return _checksum(self.functions)


@cache
def present() -> Release:
    """What this version is."""
    folder = files("fanwood.store").joinpath("postgres")
    steps = [
        Step(int(f.name.split("_")[0]), f.name.removesuffix(".sql"), f.read_text(encoding="utf-8"))
        for f in folder.joinpath("migrations").iterdir()
        if f.name[0].isdigit()
    ]
    parts = sorted(
        (f.name, f.read_text(encoding="utf-8"))
        for f in folder.joinpath("functions").iterdir()
        if f.name.endswith(".sql")
    )
    return Release(tuple(sorted(steps, key=lambda step: step.number)), LAYER, "\n".join(text for _, text in parts))
