"""What goes wrong, as problem details (RFC 9457) with a code for programs."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from fanwood import errors
from fanwood.checks import in_short

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MEDIA = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every answer that is an error."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    errors: tuple[str, ...] = ()
    """What is wrong, each with its place: `input.size: must be integer`."""


MOST_ERRORS = 100
"""That are named in one answer."""


def _in_short(errors: Iterable[str]) -> tuple[str, ...]:
    return tuple(in_short(error) for error in islice(errors, MOST_ERRORS))


class Refusal(Exception):  # noqa: N818  (an answer, rather than an error)
    """Ends a request with this problem."""

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str = "",
        *,
        errors: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(title)
        self.problem = Problem(f"urn:fanwood:problem:{code}", title, status, code, in_short(detail), _in_short(errors))
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """As an answer."""
        return Response(msgspec.json.encode(self.problem), self.problem.status, media_type=MEDIA, headers=self.headers)


_STATUS: tuple[tuple[type[errors.FanwoodError], int], ...] = (
    (errors.RunNotFoundError, 404),
    (errors.UnknownTaskError, 404),
    (errors.PromiseTokenError, 404),
    (errors.PromiseSettledError, 409),
    (errors.EventConflictError, 409),
    (errors.PayloadTooLargeError, 413),
    (errors.PayloadError, 422),
    (errors.IdempotencyConflictError, 409),
    (errors.SpawnError, 409),
    (errors.UsageError, 422),
    (errors.StoreReadOnlyError, 403),
    (errors.StoreValueError, 422),
    (errors.StoreError, 503),
    (errors.EngineClosedError, 503),
)
"""The first that fits counts."""
_TITLES = {
    404: "There is no such thing",
    403: "The database can't be written to",
    409: "It is in the way of something else",
    413: "It is too large",
    422: "It can't be done so",
    500: "Something went wrong here",
    503: "The database can't be asked just now",
}
NOT_FOUND = "There is no such run, or it isn't yours to see"


def refusal_for(error: errors.FanwoodError) -> Refusal:
    """An error of ours as an answer. What the database said stays here: it may name paths and hosts."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if isinstance(error, errors.RunNotFoundError):
        return not_found()
    detail = str(error) if status in (409, 413, 422) and not isinstance(error, errors.StoreError) else ""
    places = error.problems if isinstance(error, errors.InputValidationError) else ()
    wrong = [f"{place}: {what}" for place, what in places]
    return Refusal(status, code_of(type(error)), _TITLES.get(status, _TITLES[500]), detail, errors=wrong)


def not_found() -> Refusal:
    """The one answer for what isn't there, and for what somebody may not see."""
    return Refusal(404, code_of(errors.RunNotFoundError), NOT_FOUND)


def code_of(kind: type[BaseException]) -> str:
    """`RunNotFoundError` as `run_not_found`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__.removesuffix("Error")).lower()
