"""
Finds the Chromium that the pages are tested in; `make test` runs it, and where there is none it is installed.

It is the machine's own: playwright would download another. The one without windows comes first: a page costs it half
of what it costs the one that people have. Where none can be had, the tests that need it are skipped, and say so;
FANWOOD_REQUIRE_BROWSER=1 makes that a failure.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.debian import InstallationError, can_install, install_packages

VARIABLE = "FANWOOD_TEST_BROWSER"
REQUIRED = "FANWOOD_REQUIRE_BROWSER"
HEADLESS = "chromium-headless-shell"
"""The program, and Debian's package of it."""
NAMES = (HEADLESS, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
ADVICE = (
    "install it (Debian: apt install chromium-headless-shell; Fedora: dnf install chromium; "
    f"macOS: brew install --cask chromium), or name its program: {VARIABLE}=/path/to/chromium"
)


class MissingBrowserError(RuntimeError):
    """There is none, or the one that was named is not there."""


def find() -> str:
    """The program that FANWOOD_TEST_BROWSER names, and no other; without it, the first of those that machines have."""
    if named := os.environ.get(VARIABLE):
        if program := shutil.which(named):
            return program
        raise MissingBrowserError(f"{VARIABLE}={named}: there is no such program. Name another, or unset {VARIABLE}.")
    candidates = (*map(shutil.which, NAMES), *(place for place in PLACES if Path(place).exists()))
    if program := next(filter(None, candidates), None):
        return program
    raise MissingBrowserError(f"No Chromium is on the PATH to test the dashboard in: {ADVICE}")


def is_required() -> bool:
    return os.environ.get(REQUIRED, "") not in {"", "0"}


def main() -> int:
    try:
        _find_or_install()
    except (MissingBrowserError, InstallationError) as error:
        wrong = is_required() or VARIABLE in os.environ
        print(error if wrong else f"Tests of the dashboard in a browser will be skipped. {error}", flush=True)
        return int(wrong)
    return 0


def _find_or_install() -> None:
    if VARIABLE not in os.environ and shutil.which(HEADLESS) is None and can_install():
        print("Installing Chromium to test the dashboard in, from the system's packages ...", flush=True)
        try:
            install_packages(HEADLESS)
        except InstallationError as error:  # Debian's before 12 have no such package
            print(f"Without the one that has no windows: {error}", flush=True)
            if not _is_there():
                install_packages("chromium")
    find()


def _is_there() -> bool:
    try:
        return bool(find())
    except MissingBrowserError:
        return False


if __name__ == "__main__":
    sys.exit(main())
