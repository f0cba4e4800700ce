"""`make vendor`: write the pages' libraries and the frame's hints anew. Needs npm, which nothing else here does."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.vendoring.modules import FRAME, frame
from tests.vendoring.packages import PACKAGES, VENDOR, fetch, unpack

VENDOR.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory() as folder:
    for package in PACKAGES:
        for name, text in unpack(package, fetch(package, Path(folder))).items():
            (VENDOR / name).write_text(text, encoding="utf-8")
FRAME.write_text(frame(), encoding="utf-8")
