"""What all tests share: a database of their own, and an application on it that is closed in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fanwood import Fanwood

MakeApp = Callable[..., Fanwood]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/fanwood.db"


@pytest.fixture
def make_app(url: str) -> Iterator[MakeApp]:
    """Makes applications, by default on one database and working in-process; closes them, the newest first."""
    made: list[Fanwood] = []

    def make(**settings: Any) -> Fanwood:
        app = Fanwood(settings.pop("url", url), **{"local_worker": True, **settings})
        made.append(app)
        return app

    yield make
    for app in reversed(made):
        app.close()


@pytest.fixture
def app(make_app: MakeApp) -> Fanwood:
    return make_app()
