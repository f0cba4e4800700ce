"""What only the server says; everything else is in lens/views.py."""

from __future__ import annotations

from fanwood.lens.views import ErrorBrief, RunBrief, View
from fanwood.server.choosing import ActionFilter


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


class Started(View, frozen=True):
    """A run that was started, or the one that has the key."""

    id: str


class Acted(View, frozen=True):
    """What was done to a run. `action`: the run of the action itself. `pending`: it is under way."""

    id: str
    state: str
    done: bool = False
    pending: bool = False
    action: str = ""


class Preview(View, frozen=True):
    """What an action would be about: how many runs that are (`at_least`: or more), the first of them, and a token with
    which exactly that is confirmed, for some minutes."""

    count: int
    token: str
    at_least: bool = False
    sample: tuple[RunBrief, ...] = ()


class ActionView(View, frozen=True):
    """What somebody did with runs. `filter`: which ones; `count`: how many that were (`at_least`: or more) at the
    preview; `seen`: how far it is, `done` and `left` (they had changed) what came of it."""

    id: str
    action: str
    by: str
    state: str
    created_at: int
    finished_at: int | None = None
    namespace: str = ""
    filter: ActionFilter = ActionFilter()
    priority: int | None = None  # of what was reprioritized
    count: int = 0
    at_least: bool = False
    seen: int = 0
    done: int | None = None
    left: int | None = None
    error: ErrorBrief | None = None


class ActionsView(View, frozen=True):
    """Actions, the newest first."""

    as_of: int
    actions: tuple[ActionView, ...] = ()
    after: str | None = None
