"""The application's tests have a database of their own, named before the application is imported."""

import os
import tempfile

folder = tempfile.TemporaryDirectory()
os.environ["FANWOOD_DATABASE_URL"] = f"sqlite:///{folder.name}/test.db"


def pytest_unconfigure() -> None:
    folder.cleanup()
