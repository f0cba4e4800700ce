"""The reference of the REST API is what the API says of itself."""

from __future__ import annotations

import fanwood
from fanwood.server.openapi import described
from fanwood.server.routes import ROUTES
from tests.docs.rest import PAGE, written


def test_that_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == written(described(ROUTES, fanwood.__version__)), "make screens"
