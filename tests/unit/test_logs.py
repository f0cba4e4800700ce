"""What a handler of the user's raises ends nobody who logs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanwood import logs

SOURCE = Path(logs.__file__).parent
OUR_OWN = {"logs.py": "the guard", "worker/telling.py": "guards each line itself", "cli": "sets logging up"}


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ConnectionError(f"nobody takes {record.getMessage()}")


@pytest.fixture
def broken() -> Iterator[logging.Logger]:
    logger, handler = logging.getLogger("fanwood.broken"), Broken()
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_a_handler_that_raises_is_told_of_and_raises_nothing(
    broken: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logs.logger(broken.name)
    logger.warning("%d run(s)", 3)
    try:
        raise ValueError("a fault")
    except ValueError:
        logger.exception("of a service")
    said = capsys.readouterr().err
    assert said.count("A logging handler failed") == 2
    assert "nobody takes 3 run(s)" in said


def test_who_logged_is_known(caplog: pytest.LogCaptureFixture) -> None:
    logs.logger("fanwood.well").error("here")
    assert caplog.records[0].filename == Path(__file__).name


def test_everybody_logs_with_the_guard() -> None:
    found = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if re.search(r"getLogger\(", path.read_text(encoding="utf-8"))
    ]
    assert [path for path in found if path not in OUR_OWN and not path.startswith("cli/")] == []
