"""The application's tests: requests, and work that is really done, in this process.

python -m pytest examples/web
"""
# pyright: basic, reportMissingImports=false

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from examples.web.app import app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def events(client: TestClient, run_id: str) -> list[dict[str, Any]]:
    with client.stream("GET", f"/reports/{run_id}/events") as answer:
        return [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]


def test_a_report_is_made_and_shown(client: TestClient) -> None:
    answer = client.post("/reports", json={"customer": "acme", "pages": 5})
    assert answer.status_code == 202
    run_id = answer.json()["id"]
    assert events(client, run_id)[-1] == {"status": "COMPLETED", "done": 5, "total": 5}
    shown = client.get(f"/reports/{run_id}").json()
    assert shown["result"] == {"customer": "acme", "words": 500}


def test_that_asking_twice_makes_one(client: TestClient) -> None:
    order = {"json": {"customer": "acme", "pages": 1}, "headers": {"Idempotency-Key": "order 7"}}
    assert client.post("/reports", **order).json() == client.post("/reports", **order).json()


def test_a_report_can_be_cancelled(client: TestClient) -> None:
    run_id = client.post("/reports", json={"customer": "acme", "pages": 400}).json()["id"]
    assert client.delete(f"/reports/{run_id}").status_code == 204
    assert events(client, run_id)[-1]["status"] == "CANCELLED"


def test_what_can_not_be(client: TestClient) -> None:
    assert client.post("/reports", json={"customer": "acme", "pages": 0}).status_code == 422
    assert client.get("/reports/0000").status_code == 404
    assert client.get("/reports/0000/events").status_code == 404
