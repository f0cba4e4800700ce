"""Errors in few words, and which of them are the same: what they say, with numbers, quoted texts and addresses taken
out."""

from __future__ import annotations

import re
from hashlib import blake2b

import msgspec

from fanwood.lens.views import ErrorBrief
from fanwood.model.commands import Failure

MESSAGE = 300
"""Characters of one that are shown."""
_decode = msgspec.json.Decoder(Failure).decode
_FIELD = re.compile(r'"(kind|type|message)":("(?:[^"\\]|\\.)*"?)')

_PATTERNS = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "…"),  # uuids
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE), "…"),
    (re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`[^`\n]*`"""), "'…'"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "…"),
    (re.compile(r"\[[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\](?::\d+)?|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"), "…"),  # addresses
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b"), "…"),  # hex digits
    (re.compile(r"[+-]?(?<![A-Za-z_])\d[\d_,]*(?:\.\d+)?(?:[eE][+-]?\d+)?"), "…"),
)


def brief(error: str | None) -> ErrorBrief | None:
    """A stored error, or the beginning of one."""
    if not error:
        return None
    try:
        failure = _decode(error)
    except msgspec.DecodeError:
        return _cut(error)
    return ErrorBrief(failure.kind, failure.type, failure.message[:MESSAGE])


def _cut(error: str) -> ErrorBrief:
    """Its beginning."""
    fields: dict[str, str] = {}
    for name, text in _FIELD.findall(error):
        whole = text if text.endswith('"') and len(text) > 1 else f'{text.rstrip(chr(92))}"'
        try:
            fields.setdefault(name, msgspec.json.decode(whole, type=str))
        except msgspec.DecodeError:
            fields.setdefault(name, text.strip('"'))
    if "kind" not in fields:
        return ErrorBrief("failed", message=error[:MESSAGE])
    return ErrorBrief(fields["kind"], fields.get("type", ""), fields.get("message", "")[:MESSAGE])


def normal(message: str) -> str:
    """A message without what differs from one run to the next: its first line, and not all of a long one."""
    text = message.strip().partition("\n")[0][:MESSAGE]
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def cluster_key(type_: str, message: str) -> str:
    """The name of a cluster, from what its failures have in common."""
    return blake2b(f"{type_}\n{message}".encode("utf-8", "replace"), digest_size=6).hexdigest()
