"""Limits that run out, in tests: what they are about must have begun before, and beside others that takes as long as it
takes."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fanwood import Fanwood

LIMITS = (2.5, 10.0, 40.0)
"""Seconds."""


def in_time(test: Callable[..., None]) -> Callable[..., None]:
    """A test of a limit that runs out. It is given `make_app`, the `limit`, and `begun`, which it sets when what must
    be there before the limit is. If it fails and had not come so far, the machine was too busy, or stood still: then
    it is done anew with a longer limit, and with applications of its own. What fails after that is a failure."""

    @functools.wraps(test)
    def tried(make_app: Callable[..., Fanwood], **given: Any) -> None:
        for limit in LIMITS:
            begun, made = threading.Event(), list[Fanwood]()

            def make(made: list[Fanwood] = made, **settings: Any) -> Fanwood:
                made.append(make_app(**settings))
                return made[-1]

            try:
                test(make_app=make, limit=limit, begun=begun, **given)
            except (Exception, pytest.fail.Exception):
                if begun.is_set() or limit == LIMITS[-1]:
                    raise
                for app in made:
                    app.close()
            else:
                return

    named = inspect.signature(test)
    own = [each for name, each in named.parameters.items() if name not in ("limit", "begun")]
    tried.__signature__ = named.replace(parameters=own)  # type: ignore[attr-defined]
    return tried
