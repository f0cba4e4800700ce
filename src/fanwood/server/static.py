"""The pages' files: read once, kept gzipped, under a path that names their contents and so never changes."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

FRAME = "index.html"
PLACE = "/static/-/"
"""What stands in the frame for where the files are."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_KEPT_APART = {FRAME}
_COMMENTS = {
    ".js": re.compile(rb"/\*\*.*?\*/|^[ \t]*//.*?$", re.DOTALL | re.MULTILINE),
    ".css": re.compile(rb"/\*.*?\*/", re.DOTALL),
}
"""In our own files: an eighth of what would be transferred. Lines stay lines, so that errors name the right ones."""
_INDENTATION = re.compile(rb"^[ \t]+", re.MULTILINE)
"""There as well: templates pass by it, and no other text of theirs goes over several lines."""
_FOR_EVER = "public, max-age=31536000, immutable"
_WORTH_IT = 500  # bytes


@dataclass(frozen=True, slots=True)
class File:
    """One of them."""

    media: str
    plain: bytes
    zipped: bytes | None

    def response(self, request: Request, cache: str) -> Response:
        """As an answer, gzipped for who takes that."""
        headers = {"cache-control": cache, "vary": "accept-encoding"}
        if self.zipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.zipped, media_type=self.media, headers={**headers, "content-encoding": "gzip"})
        return Response(self.plain, media_type=self.media, headers=headers)


class Static:
    """All files of the pages, and the frame that loads them."""

    def __init__(self, folder: Path) -> None:
        found = {
            path.relative_to(folder).as_posix(): served(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        hash_ = hashlib.sha256()
        for name, content in found.items():
            hash_.update(f"{name} {len(content)}\n".encode() + content)
        self.base = f"/static/{hash_.hexdigest()[:12]}/"
        self._files = {
            self.base + name: _file(name, content) for name, content in found.items() if name not in _KEPT_APART
        }
        frame = found.get(FRAME, b"<!doctype html><title>Fanwood</title>").replace(PLACE.encode(), self.base.encode())
        self._frame = _file(FRAME, frame)

    def file(self, path: str, request: Request) -> Response | None:
        """One of the files, by its whole path; there are no others."""
        found = self._files.get(path)
        return None if found is None else found.response(request, _FOR_EVER)

    def frame(self, request: Request) -> Response:
        """The page, which holds no data."""
        return self._frame.response(request, "no-cache")


def served(path: Path) -> bytes:
    """A file as browsers get it: modules and styles without comments and indentation, libraries with their licences'
    words."""
    content, comments = path.read_bytes(), _COMMENTS.get(path.suffix)
    if comments is None or path.parent.name == "vendor":
        return content
    said = comments.sub(lambda match: b"\n" * match[0].count(b"\n"), content)
    return _INDENTATION.sub(b"", said)


@cache
def ours() -> Static:
    """Those of the package."""
    return Static(Path(str(files("fanwood.server").joinpath("web"))))


def _file(name: str, content: bytes) -> File:
    suffix = Path(name).suffix
    media = _TYPES.get(suffix, "text/plain; charset=utf-8")
    zipped = gzip.compress(content, 9, mtime=0) if len(content) >= _WORTH_IT else None
    return File(media, content, zipped if zipped is not None and len(zipped) < len(content) else None)
