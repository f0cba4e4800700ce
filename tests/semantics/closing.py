"""Waiting for what a parent's end, or a call, has closed."""

from __future__ import annotations

from fanwood import Fanwood


def swept(app: Fanwood) -> None:
    """Returns when all that is below something that was closed has ended."""
    while app.engine().call(lambda store: store.sweep(), changes=True).result(60).more:
        pass
