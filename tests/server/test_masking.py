"""What is for nobody's eyes, and what is for some."""

from __future__ import annotations

import time

import msgspec
import pytest

from fanwood.lens.views import ErrorBrief, Lane, RunBrief, RunsPage, Waterfall, WhyView
from fanwood.server.masking import MASK, is_secret, masked_json, masked_text, shown
from fanwood.server.options import Payloads
from tests.server.asgi import Client
from tests.server.conftest import TOKENS, Make, World


@pytest.mark.parametrize(
    "key",
    [
        "password", "PASSWORD", "db_password", "userPassword", "passwd", "pwd", "token", "access_token", "accessToken",
        "x-auth-token", "Authorization", "secret", "client_secret", "clientSecret", "api_key", "apiKey", "API-KEY",
        "apikey", "private_key", "credentials", "cookie", "Set-Cookie", "aws.secret.access.key",
    ],
)  # fmt: skip
def test_secret_names(key: str):
    assert is_secret(key)
    assert masked_json(f'{{"{key}":"x1"}}') == f'{{"{key}":"{MASK}"}}'
    assert "x1" not in masked_text(f'{{"{key}": "x1", "b": 2}}')
    assert "x1" not in masked_text(f'{{"a":0,"{key}":"x1 and then it is cut o')
    assert "x1" not in masked_text(f"{key}=x1 was refused")
    assert "x1" not in masked_text(f"{key}: 'x1' was refused")


@pytest.mark.parametrize("key", ["max_tokens", "tokens", "tokenizer", "passwordless", "key", "author", "secretary", ""])
def test_names_that_are_none(key: str):
    assert not is_secret(key)
    assert masked_json(f'{{"{key}":"x1"}}') == f'{{"{key}":"x1"}}'


def test_that_what_is_below_a_secret_name_is_hidden_whole():
    assert masked_json('{"a":[{"token":{"x":["y"]}}]}') == f'{{"a":[{{"token":"{MASK}"}}]}}'
    assert masked_text('{"token":{"x":["y"]},"b":1}') == f'{{"token":{MASK}'
    assert masked_json('{"token":null}') == '{"token":null}'


def test_that_a_payload_without_secrets_stays_as_it_stands():
    text = '{ "a" : 1.10, "b": [1e400, 12345678901234567890123] }'
    assert masked_json(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"nested":{"apiKey":"k-1"},"n":2}', f'{{"nested":{{"apiKey":"{MASK}"}},"n":2}}'),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: {MASK}"),
        ("postgresql://me:pa55@host/db can't be reached", f"postgresql://me:{MASK}@host/db can't be reached"),
        ("bad row 381 in part 17", "bad row 381 in part 17"),
        ("token: 17 of 20", "token: 17 of 20"),
        ("KeyError: 'token'", "KeyError: 'token'"),
    ],
)
def test_texts(text: str, left: str):
    assert masked_text(text) == left


@pytest.mark.parametrize(
    "text", ["x" * 100_000, "x " * 50_000, "a=" * 50_000, "://" * 30_000, '"' * 100_000, "-:" * 50_000]
)
def test_that_no_text_takes_long(text: str):
    before = time.process_time()
    masked_text(text)
    masked_json("[" * 60_000)
    assert time.process_time() - before < 5


def test_that_views_are_masked_wherever_it_stands():
    run = RunBrief(
        "1", "1", "t", "failed", "task", 0, 0, error=ErrorBrief("failed", "E", "password=x1"), preview='{"pwd":"x1"}'
    )

    for view in (run, RunsPage((run,)), Waterfall(0, 1, (Lane(run, 0, "focus"),)), [run], {"a": run}):
        text = msgspec.json.encode(shown(view, payloads=True)).decode()
        assert "x1" not in text
        assert "pwd" in text
        assert "pwd" not in msgspec.json.encode(shown(view, payloads=False)).decode()
    plain = RunBrief("1", "1", "t", "failed", "task", 0, 0)
    assert shown(plain, payloads=True) is plain


async def test_that_answers_are_masked(client: Client, world: World):
    root, failed, _ = world.shop
    of_root = ["", "/children", "/members", "/payload/input", "/logs"]
    of_failed = ["", "/payload/error", "/why"]
    for path in ("trees", *(f"runs/{root}{it}" for it in of_root), *(f"runs/{failed}{it}" for it in of_failed)):
        answer = await client.ask(f"/api/v1/{path}")
        assert answer.status == 200, path
        for secret in (b"hunter2", b"k-123", b"abc123", b"abc.def"):
            assert secret not in answer.body, (path, answer.body)
    part = (await client.ask(f"/api/v1/runs/{root}/payload/input")).json()
    assert part["is_masked"]
    assert '"max_tokens":5' in part["text"]


@pytest.mark.parametrize("payloads", list(Payloads))
async def test_who_sees_payloads(make: Make, world: World, payloads: Payloads):
    client = make(payloads=payloads)
    for role, token in TOKENS.items():
        may = payloads is Payloads.ALL or (payloads is Payloads.OPERATOR and role != "viewer")
        them = Client(client.app, token)
        for what in ("input", "output", "error", "metadata"):
            answer = await them.ask(f"/api/v1/runs/{world.shop[0]}/payload/{what}")
            assert answer.status == (200 if may else 403)
        for path in ("trees", f"runs/{world.shop[0]}/children", f"runs/{world.shop[0]}/members"):
            assert (b"preview" in (await them.ask(f"/api/v1/{path}")).body) == may
        assert (await them.ask("/api/v1/me")).json().get("payloads", False) == may


async def test_payloads_in_parts(client: Client, world: World, monkeypatch):
    monkeypatch.setattr("fanwood.server.reading.PART", 7)
    path = f"/api/v1/runs/{world.shop[0]}/payload/metadata"
    first = (await client.ask(path)).json()
    assert first == {"text": '{"of":"', "size": 13, "next": 7}
    assert (await client.ask(f"{path}?offset=7")).json() == {"text": 'shop"}', "size": 13}
    assert (await client.ask(f"{path}?offset=99")).json() == {"size": 13}
    assert (await client.ask(f"/api/v1/runs/{world.shop[0]}/payload/output")).json() == {"is_missing": True}
    assert (await client.ask(f"/api/v1/runs/{world.shop[0]}/payload/identity")).status == 404


def test_that_a_text_may_have_very_many_secrets_and_addresses():
    """In a time that grows as the text does."""
    many = 5_000
    text = masked_text("password=x ://a:b@ c " * many)
    assert text == "password=(masked) ://a:(masked)@ c " * many


async def test_that_nobody_finds_a_secret_letter_by_letter(client: Client, world: World):
    """The world's errors say `token=abc123`, which is masked."""
    for text, is_found in (("refused", True), ("token=a", False), ("abc123", False), ("=abc", False)):
        answer = (await client.ask(f"/api/v1/search?q={text}")).json()
        assert ("runs" in answer) == is_found, text


def test_that_facts_are_masked():
    match = {"payload.token": "t-1", "payload.n": 1}
    why = WhyView("1", "t", "waiting", "waiting", "it waits", facts={"event": "paid", "match": match})
    told = shown(why, payloads=True)
    assert told.facts["match"] == {"payload.token": "(masked)", "payload.n": 1}
