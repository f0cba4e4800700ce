"""Who is let in: every check, on every kind of path."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
from pathlib import Path

import pytest
from starlette.requests import Request

from fanwood.errors import SettingsError
from fanwood.server.gate import COOKIE, HEADERS, PROXY_GROUPS, PROXY_SECRET, PROXY_USER
from fanwood.server.identity import Role, Token, digest, read_tokens
from fanwood.server.options import Options
from fanwood.server.problems import Refusal
from fanwood.server.static import ours
from tests.server.asgi import HOST, Client, scope_of
from tests.server.conftest import BOUND, LATE, OWNER, TOKENS, Make, World, write_tokens

EVERYWHERE = ["/", "/t/1", "/healthz", "/static/0/main.js", "/api/v1/trees", "/api/v1/live?topics=trees", "/api/v1/x"]
"""A path of each kind."""


# --- the place -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["evil.example"],
        ["evil.example:8765"],
        ["127.0.0.1"],
        ["127.0.0.1:80"],
        ["127.0.0.1:8765.evil.example"],
        ["localhost:8765@evil.example"],
        ["127.0.0.1:8765", "evil.example"],
        ["evil.example", "127.0.0.1:8765"],
        ["127.0.0.1:8765, evil.example"],
        ["0.0.0.0:8765"],
        ["127.1:8765"],
    ],
)
async def test_that_another_name_is_refused_everywhere(client: Client, path: str, hosts: list[str]):
    """A page whose name was made to lead here (DNS rebinding) says its own."""
    headers = [("host", host) for host in hosts] + [("authorization", f"Bearer {OWNER}")]
    answer = await client.ask(path, headers=headers)
    assert (answer.status, answer.code) == (403, "host_not_allowed")


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "LOCALHOST:8765", "[::1]:8765"])
async def test_that_our_own_names_are_let_in(client: Client, host: str):
    assert (await client.ask("/api/v1/me", headers=client.headers(host=host))).status == 200


async def test_that_names_are_added_exactly(make: Make):
    client = make(hosts=("fanwood.example.com",), secure=True)
    assert (await client.ask("/", headers=[("host", "fanwood.example.com")])).status == 200
    assert (await client.ask("/", headers=[("host", "fanwood.example.com:443")])).status == 403
    assert (await client.ask("/", headers=[("host", "a.fanwood.example.com")])).status == 403


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "https://127.0.0.1:8765", "http://127.0.0.1:8765.evil.example", ""]
)
async def test_that_another_origin_is_refused_everywhere(client: Client, path: str, origin: str):
    answer = await client.ask(path, more=[("origin", origin)])
    assert (answer.status, answer.code) == (403, "origin_not_allowed")


@pytest.mark.parametrize("path", EVERYWHERE)
async def test_that_every_answer_has_our_headers_and_none_for_other_origins(client: Client, path: str):
    for method in ("GET", "OPTIONS", "POST", "HEAD"):
        if "live" in path and method == "GET":
            continue
        answer = await client.ask(path, method, more=[("access-control-request-method", "POST")])
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert [name for name in answer.headers if name.startswith("access-control")] == []
    assert "default-src 'none'" in HEADERS["content-security-policy"]
    assert "require-trusted-types-for 'script'" in HEADERS["content-security-policy"]


def test_that_the_one_script_of_the_frame_is_the_one_that_is_allowed():
    frame = ours().frame(Request({"type": "http", "headers": []})).body
    scripts = re.findall(rb"<script>(.*?)</script>", bytes(frame), re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in scripts]
    policy = HEADERS["content-security-policy"]
    assert re.findall("'sha256-[^']*'", policy) == hashes
    assert len(hashes) == 1
    assert "unsafe" not in policy


# --- what changes something ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([("sec-fetch-site", "cross-site")], "cross_site"),
        ([("sec-fetch-site", "same-site")], "cross_site"),
        ([("sec-fetch-site", "")], "cross_site"),
        ([], "origin_missing"),
        ([("origin", "http://evil.example")], "origin_not_allowed"),
        ([("sec-fetch-site", "same-origin"), ("content-type", "text/plain")], "json_only"),
        ([("sec-fetch-site", "same-origin"), ("content-type", "application/x-www-form-urlencoded")], "json_only"),
        ([("sec-fetch-site", "same-origin"), ("content-type", "multipart/form-data; boundary=x")], "json_only"),
        ([("sec-fetch-site", "same-origin"), ("content-type", "")], "json_only"),
        ([("sec-fetch-site", "same-origin")], "json_only"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY"])
async def test_that_a_page_of_another_site_can_change_nothing(client: Client, method: str, headers, code: str):
    given = [("host", HOST), ("authorization", f"Bearer {OWNER}"), *headers]
    assert (await client.ask("/api/v1/logout", method, headers=given)).code == code


@pytest.mark.parametrize(
    "proof", [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none"), ("origin", f"http://{HOST}")]
)
async def test_that_our_own_page_can(client: Client, proof: tuple[str, str]):
    given = [("host", HOST), ("content-type", "application/json; charset=utf-8"), proof]
    assert (await client.ask("/api/v1/logout", "POST", headers=given)).status == 204


async def test_that_a_page_of_another_site_may_not_ask_the_api_either(make: Make):
    client = make(login=False)
    for site in ("cross-site", "same-site"):
        given = [("host", HOST), ("sec-fetch-site", site)]
        assert (await client.ask("/api/v1/trees", headers=given)).code == "cross_site"
        assert (await client.ask("/t/1", headers=given)).status == 200  # a link in a chat
    assert (await client.ask("/api/v1/trees", headers=[("host", HOST)])).status == 200


# --- who asks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {OWNER}",
        OWNER,
        f"Bearer {OWNER}x",
        f"Bearer {OWNER[:-1]}",
        f"Bearer {OWNER} x",
        f"Bearer {digest(OWNER)}",
        f"Bearer {LATE}",
        "Bearer ümlaut",
    ],
)
async def test_that_nobody_else_is_let_in(client: Client, header: str):
    answer = await client.ask("/api/v1/trees", headers=[("host", HOST), ("authorization", header)])
    assert (answer.status, answer.code) == (401, "login_needed")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (await client.ask("/api/v1/nothing", headers=[("host", HOST)])).status == 401


async def test_that_a_token_in_the_url_or_a_cookie_counts_nothing_here(client: Client):
    bare = [("host", HOST)]
    assert (await client.ask(f"/api/v1/trees?token={OWNER}", headers=bare)).status == 401
    assert (await client.ask("/api/v1/trees", headers=[*bare, ("cookie", f"{COOKIE}={OWNER}")])).status == 401


async def test_roles_of_tokens(make: Make):
    client = make()
    for role, token in TOKENS.items():
        me = (await Client(client.app, token).ask("/api/v1/me")).json()
        assert (me["name"], me["role"]) == (role, role)
    assert (await Client(client.app, BOUND).ask("/api/v1/me")).json()["namespace"] == "shop"


async def test_that_a_token_that_was_taken_back_is_refused_soon(make: Make, tmp_path: Path, monkeypatch):
    path = tmp_path / "tokens"
    write_tokens(path, Token("ann", digest("fw_ann")))
    monkeypatch.setattr("fanwood.server.identity.RELOAD", -1.0)
    client = Client(make(tokens=path).app, "fw_ann")
    assert (await client.ask("/api/v1/me")).status == 200
    write_tokens(path, Token("bob", digest("fw_bob")), Token("eve", digest("fw_eve")))
    assert (await client.ask("/api/v1/me")).status == 401
    path.write_text("{")
    assert (await Client(client.app, "fw_bob").ask("/api/v1/me")).status == 401


async def test_the_cookie_by_https(make: Make):
    client = make(secure=True, hosts=("f.example",))
    bare = [("host", "f.example"), ("origin", "https://f.example"), ("content-type", "application/json")]
    assert (await client.ask("/api/v1/login", "POST", headers=bare, body=b'{"token":"x"}')).code == "wrong_token"
    answer = await client.ask("/api/v1/login", "POST", headers=bare, body=f'{{"token":"{OWNER}"}}'.encode())
    cookie = answer.headers["set-cookie"]
    value, _, rest = cookie.partition(";")
    assert {part.strip().lower() for part in rest.split(";")} >= {"httponly", "secure", "samesite=strict", "path=/"}
    assert "domain" not in rest.lower()
    assert (await client.ask("/api/v1/me", headers=[*bare, ("cookie", f"a=b; {value}")])).status == 200
    twice = [("cookie", value), ("cookie", f"{COOKIE}=x")]
    assert (await client.ask("/api/v1/me", headers=[*bare, *twice])).status == 401
    assert "max-age=0" in (await client.ask("/api/v1/logout", "POST", headers=bare)).headers["set-cookie"].lower()


async def test_that_there_is_no_cookie_by_http(client: Client):
    answer = await client.ask("/api/v1/login", "POST", body=f'{{"token":"{OWNER}"}}'.encode())
    assert answer.code == "https_needed"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("client_address", "secret", "user", "groups", "role"),
    [
        ("10.0.0.1", "s3cret", "ann", "staff, ops", "operator"),
        ("10.0.0.1", "s3cret", "ann", "staff", "viewer"),
        ("10.0.0.1", "s3cret", "ann", "staffs,xops", None),
        ("10.0.0.1", "s3cret", "", "ops", None),
        ("10.0.0.1", "wrong", "ann", "ops", None),
        ("10.0.0.1", "", "ann", "ops", None),
        ("10.0.0.11", "s3cret", "ann", "ops", None),
    ],
)
async def test_what_a_proxy_says(
    make: Make, client_address: str, secret: str, user: str, groups: str, role: str | None
):
    groups_of = {"staff": Role.VIEWER, "ops": Role.OPERATOR}
    client = make(proxies=frozenset({"10.0.0.1"}), proxy_secret="s3cret", groups=groups_of)
    headers = [("host", HOST), (PROXY_SECRET, secret), (PROXY_USER, user), (PROXY_GROUPS, groups)]
    answer = await client.ask("/api/v1/me", headers=headers, client=client_address)
    assert (answer.json().get("role") if answer.status == 200 else None) == role


@pytest.mark.parametrize("name", [PROXY_SECRET, PROXY_USER, PROXY_GROUPS])
async def test_that_a_proxy_says_nothing_twice(make: Make, name: str):
    """It may have added its header to one that was sent to it."""
    client = make(proxies=frozenset({"10.0.0.1"}), proxy_secret="s3cret", groups={"ops": Role.OPERATOR})
    headers = [("host", HOST), (PROXY_SECRET, "s3cret"), (PROXY_USER, "eve"), (PROXY_GROUPS, "ops")]
    twice = [*headers, (name, dict(headers)[name])]
    assert (await client.ask("/api/v1/me", headers=headers, client="10.0.0.1")).status == 200
    assert (await client.ask("/api/v1/me", headers=twice, client="10.0.0.1")).status == 401


async def test_that_without_a_login_anyone_may(make: Make):
    assert (await make(login=False, token=None).ask("/api/v1/me", headers=[("host", HOST)])).json()["role"] == "admin"


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/x/..%2f..%2fapp.py",
        "/static/x/%2e%2e%5capp.py",
        "/static//etc/passwd",
        "/static/",
        "/static/x/.gitignore",
        "/api/v1/../v1/trees",
        "/api/%2e/v1/trees",
        "/api/v1/trees\x00",
        "/api/v1/trees%00",
        "/api/v1/trees%0d%0a",
        "/api/v1/trees%0a",
        "/api/v1/runs/x%5cy",
        "/api/v1/events/..%5c..%2f../../trees",
        "/api/v1/events/%2e%2e",
        "/api/v1/events/../trees",
        "/api/v1/events/a\\b",
        "/events/../healthz",
        "/events/%2e%2e/healthz",
        "/healthz/../api/v1/trees",
        "http://127.0.0.1:8765/api/v1/trees",
        "*",
    ],
)
async def test_that_strange_paths_lead_nowhere(client: Client, path: str):
    answer = await client.ask(path)
    assert answer.status == 404, answer


LIKE_OURS = ["//api/v1/trees", "/API/v1/trees", "/api", "/healthz/", "/healthz/x", "/x/healthz", "/Static/x", "/%61pi"]
NAMED = ["/events/a%5Cb", "/events/a%0A", "/events/..%2F..%2Fhealthz", "/tasks/a%5Cb"]


@pytest.mark.parametrize("path", LIKE_OURS + NAMED)
async def test_that_what_only_looks_like_ours_is_the_empty_frame(client: Client, path: str):
    answer = await client.ask(path, headers=[("host", HOST)])
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "path", ["/api/v1/trees/", "/api/v1//trees", "/api/v1/Trees", "/api/v1/trees/healthz", "/api/"]
)
async def test_that_nothing_below_the_api_is_public(client: Client, path: str):
    assert (await client.ask(path, headers=[("host", HOST)])).status == 401
    assert (await client.ask(path)).code == "no_such_route"


async def test_methods(client: Client):
    answer = await client.ask("/api/v1/trees", "DELETE")
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "wrong_method", "GET, HEAD")
    assert (await client.ask("/api/v1/trees", "HEAD")).body == b""
    assert (await client.ask("/", "POST")).code == "wrong_method"
    assert (await client.ask("/api/v1/trees", "TRACE")).status == 405


# --- size and patience -----------------------------------------------------------------------------------------------


async def test_that_what_is_too_large_is_refused_before_it_is_read(client: Client):
    assert (await client.ask("/api/v1/trees?q=" + "x" * 9000)).code == "url_too_long"
    assert (await client.ask("/api/v1/trees", more=[("x", "y" * 40_000)])).code == "headers_too_large"
    announced = [("content-length", "100000000000")]
    assert (await client.ask("/api/v1/login", "POST", more=announced)).code == "body_too_large"
    endless = (b"x" * 10_000 for _ in range(20))
    answer = await client.ask("/api/v1/login", "POST", body=endless)
    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_that_a_body_that_does_not_come_is_not_waited_for(client: Client, monkeypatch):
    monkeypatch.setattr("fanwood.server.app.BODY_SECONDS", 0.01)
    scope = scope_of("POST", "/api/v1/login", client.headers(), "127.0.0.1")
    answer = await client.sent(scope, [{"type": "http.request", "body": b"{", "more_body": True}])
    assert (answer.status, answer.code) == (408, "too_slow")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 60_000, 422),
        (b"[]", 422),
        (b'{"token":1}', 422),
        (b'{"x":1}', 422),
    ],
)
async def test_bodies_that_are_none(client: Client, body: bytes, status: int):
    assert (await client.ask("/api/v1/login", "POST", body=body)).status == status


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=0", "limit=201", "limit=1&limit=2", "nothing=1", "state=x", "after=x"]
)
async def test_queries_that_are_none(client: Client, query: str):
    assert (await client.ask(f"/api/v1/trees?{query}")).code == "bad_query"


async def test_that_only_some_long_looks_are_taken_at_a_time(client: Client):
    limits = client.app.site.limits
    with limits.heavy("a"), limits.heavy("a"), limits.heavy("a"), limits.heavy("a"):
        with limits.heavy("b"):
            pass
        with pytest.raises(Refusal) as refused, limits.heavy("a"):
            pass
        assert refused.value.problem.status == 429
        assert refused.value.headers["retry-after"]
    with limits.heavy("a"):
        pass


# --- what goes wrong -------------------------------------------------------------------------------------------------


async def test_that_a_fault_is_logged_and_not_told(client: Client, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError("hunter2 in /home/me")

    monkeypatch.setattr(client.app.site.reader, "ask", broken)
    with caplog.at_level(logging.ERROR):
        answer = await client.ask("/api/v1/trees")
    assert (answer.status, answer.code) == (500, "internal")
    assert b"hunter2" not in answer.body
    assert b"ZeroDivision" not in answer.body
    assert "hunter2" in caplog.text


async def test_that_a_store_that_is_away_is_a_problem_without_its_place(make: Make, tmp_path: Path):
    answer = await make(f"sqlite:///{tmp_path}/none/fanwood.db").ask("/api/v1/trees")
    assert (answer.status, answer.code) == (503, "store_unavailable")
    assert str(tmp_path).encode() not in answer.body


async def test_websockets_are_closed(client: Client):
    sent: list[dict] = []

    async def send(message) -> None:
        sent.append(message)

    await client.app({"type": "websocket"}, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_hosts_of_other_addresses():
    assert Options(host="10.1.2.3", port=8080).all_hosts() == {"10.1.2.3:8080"}
    here = {"127.0.0.1:81", "localhost:81", "[::1]:81"}  # the link that is printed leads there
    assert Options(host="::", port=81, hosts=("a.example",)).all_hosts() == {*here, "a.example"}
    assert Options(host="0.0.0.0", port=81).all_hosts() == here


@pytest.mark.parametrize(("port", "secure", "bare"), [(80, False, True), (443, True, True), (443, False, False)])
def test_browsers_leave_the_usual_port_out(port: int, secure: bool, bare: bool):
    hosts = Options(host="10.1.2.3", port=port, secure=secure).all_hosts()
    assert hosts == {f"10.1.2.3:{port}"} | ({"10.1.2.3"} if bare else set())


@pytest.mark.parametrize("sha256", ["", "é" * 64, "A" * 64, "0" * 63])
def test_a_token_without_a_hash_is_said_when_its_file_is_read(tmp_path: Path, sha256: str):
    (tmp_path / "tokens").write_text(f'{{"name":"a","sha256":"{sha256}"}}\n', encoding="utf-8")
    with pytest.raises(SettingsError, match="no file of tokens"):
        read_tokens(tmp_path / "tokens")


# --- the one table ---------------------------------------------------------------------------------------------------

CREDENTIALS = {
    "none": None, "wrong": "fw_wrong", "late": LATE, "bound": BOUND, "owner": OWNER, **TOKENS,
}  # fmt: skip
ROLES = {
    "none": Role.NOBODY, "wrong": Role.NOBODY, "late": Role.NOBODY, "bound": Role.OPERATOR, "owner": Role.ADMIN,
    "viewer": Role.VIEWER, "operator": Role.OPERATOR, "admin": Role.ADMIN,
}  # fmt: skip


@pytest.mark.parametrize("read_only", [False, True])
async def test_every_route_with_every_credential(make: Make, world: World, read_only: bool):
    """Of what is let through only that it is: the handlers have tests of their own. (Bodies are none, so nothing is
    done.)"""
    from fanwood.server.routes import ROUTES

    client = make(read_only=read_only)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        assert route.path.startswith("/api/v1/") or route.path == "/openapi.json"
        assert isinstance(route.role, Role)
        path = route.path.replace("{id}", "x").replace("{what}", "input").replace("{name:path}", "x")
        for name, token in CREDENTIALS.items():
            answer = await Client(client.app, token).ask(f"{path}?what-is-this=1", route.method, body=b"?")
            if route.role is Role.NOBODY:
                expected = {400}
            elif ROLES[name] is Role.NOBODY:
                expected = {401}
            elif (read_only and route.method != "GET") or ROLES[name] < route.role or (route.whole and name == "bound"):
                expected = {403}
            else:
                expected = {400}
            assert answer.status in expected, (route.method, route.path, name, answer)
