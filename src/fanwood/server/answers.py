"""What only the server says; everything else is in lens/views.py."""

from __future__ import annotations

from fanwood.lens.views import View


class Me(View, frozen=True):
    """Who asks, and what this server lets them do."""

    name: str
    role: str
    namespace: str = ""
    read_only: bool = False
    payloads: bool = False
    store: str = ""
    version: str = ""


class PayloadPart(View, frozen=True):
    """Some of a payload: opaque text, JSON as a rule. `next`: where it goes on. `size`: characters, in all."""

    text: str = ""
    size: int = 0
    next: int | None = None
    is_missing: bool = False  # there is none
    is_masked: bool = False  # something in it is for nobody's eyes
