"""The fixture under test, though this package may have been installed before it had a plugin."""

from fanwood.testing.plugin import fanwood_app

__all__ = ["fanwood_app"]
