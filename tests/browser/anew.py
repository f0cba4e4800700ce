"""A test of the pages that failed while an interface of this machine came or went is done anew, and it is said.

Chromium drops what is under way then (ERR_NETWORK_CHANGED), also to 127.0.0.1, and has no option to leave that be;
and tests beside these make hosts of their own, with interfaces (`tests/chaos/hosts.py`). What the pages only read they
fetch again; what they were to do is cut off, and nobody can tell whether it was done: a test that clicked on it fails,
and nothing is wrong with the pages. Only what has failed while the browser itself told of that error is done anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from tests.browser.driving import ITS_PAGE
from tests.browser.watch import OF_THE_MACHINE, Watch

TIMES = 4
LOOKED_ON = pytest.StashKey[Watch]()
"""Who looks on, of a test."""
_HERE = Path(__file__).parent
_ANEW = "anew"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if item.path.parent != _HERE:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports: list[pytest.TestReport] = []
    for left in reversed(range(TIMES)):
        item.stash[LOOKED_ON] = Watch()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failed = [report for report in reports if report.failed]
        if not failed or not left or not _is_the_machines(item, failed):
            break
        for report in failed:
            report.outcome = _ANEW  # type: ignore[assignment]  (no failure, and no pass)
            item.ihook.pytest_runtest_logreport(report=report)
        item._initrequest()  # type: ignore[attr-defined]  (it needs fixtures of its own again)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _is_the_machines(item: pytest.Item, failed: list[pytest.TestReport]) -> bool:
    told = any(each in report.longreprtext for report in failed for each in (OF_THE_MACHINE, ITS_PAGE))
    return told or item.stash[LOOKED_ON].dropped > 0


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    return (_ANEW, "A", "ANEW") if report.outcome == _ANEW else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports(_ANEW):
        terminalreporter.write_line(f"done anew, since the machine's network changed meanwhile: {report.nodeid}")
