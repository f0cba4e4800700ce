"""What is wrong in a test: assertions, so that the test fails and is not broken."""

from __future__ import annotations


class StuckError(AssertionError):
    """What is waited for will not come, or has not come within a limit; the message says what waits for what."""


class ExploreError(AssertionError):
    """A flow does not survive a crash at some point, or does not do the same each time; the message says where."""
