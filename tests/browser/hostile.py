"""Texts that execute something, or call for something, wherever they are taken for anything but text; and a store in
which each of them is in every field that can hold one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fanwood.ids import id_text
from tests.browser.rows import MINUTE, SECOND, C, F, R, W, Writer

_PAYLOADS = (
    "<script>alert(N)</script>",
    "</script><script>alert(N)</script>",
    "</title></style></textarea><script>alert(N)</script>",
    "<img src=x onerror=alert(N)>",
    '"><img src=x onerror=alert(N)>',
    "'><svg onload=alert(N)>",
    "<svg><animate onbegin=alert(N) attributeName=x dur=1s>",
    "<svg><script>alert&#40;N)</script></svg>",
    '<svg><a xlink:href="javascript:alert(N)"><text y=20>x</text></a></svg>',
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(N)>",
    '<noscript><p title="</noscript><img src=x onerror=alert(N)>">',
    "<template><img src=x onerror=alert(N)></template><img src=x onerror=alert(N)>",
    "<details open ontoggle=alert(N)><summary>x</summary></details>",
    "<input autofocus onfocus=alert(N)>",
    "<video><source onerror=alert(N)></video>",
    "<audio src=x onerror=alert(N)>",
    '<iframe srcdoc="<script>parent.alert(N)</script>"></iframe>',
    '<iframe src="javascript:parent.alert(N)"></iframe>',
    '<object data="data:text/html,<script>alert(N)</script>"></object>',
    '<embed src="javascript:alert(N)">',
    '<form action="javascript:alert(N)"><button autofocus>go</button></form>',
    '<a href="javascript:alert(N)" autofocus>look</a>',
    '<meta http-equiv=refresh content="0;url=javascript:alert(N)">',
    '<base href="http://elsewhere.example/alert(N)/">',
    '<link rel=stylesheet href="http://elsewhere.example/alert(N).css">',
    "<style>@import 'http://elsewhere.example/alert(N)';</style>",
    '<div style="background:url(http://elsewhere.example/alert(N))">x</div>',
    '<img src="http://elsewhere.example/alert(N).png">',
    "javascript:alert(N)",
    "data:text/html,<script>alert(N)</script>",
    "http://elsewhere.example/?alert(N)",
    "//elsewhere.example/alert(N)",
    "${alert(N)}",
    "{{constructor.constructor('alert(N)')()}}",
    "'-alert(N)-'",
    '";alert(N);//',
    "`;alert(N);`",
    "&lt;script&gt;alert(N)&lt;/script&gt;",
    "%3Cscript%3Ealert(N)%3C/script%3E",
    "\u202e<\u200bscript>alert(N)</script>\u2028\r\nSet-Cookie: a=b\u001b]8;;http://elsewhere.example\u0007",
)  # fmt: skip
PAYLOADS = tuple(text.replace("N", str(number)) for number, text in enumerate(_PAYLOADS, 101))
MARKS = tuple(f"{number})" for number in range(101, 101 + len(PAYLOADS)))
"""What is to be read of each, if it was shown as text."""

NAMES = ("../../api/v1/me", "__proto__", "a|b", "constructor", "toString", "a/b?c#d%2e%2e", " ", "x" * 300, "日本 🦈 é")
"""Names of tasks that programs trip over."""


def hostile(file: Path, now: int) -> dict[str, Any]:
    """Trees, one for each text, and one that has all of them in it: `all` is its root, `runs` are those that failed."""
    writer = Writer(file, now)
    root = writer.run("all", R, at=now - MINUTE, output=None, input=list(PAYLOADS))
    done = writer.run("output", C, root, at=now - MINUTE, output=[*PAYLOADS, {text: text for text in PAYLOADS}],
                      input=_elements())  # fmt: skip
    runs = []
    for number, text in enumerate(PAYLOADS):
        at = now - MINUTE + number * SECOND
        worker = writer.worker(text, text, [text])
        error = {
            "kind": "failed",
            "type": text,
            "message": text,
            "traceback": f'  File "{text}", line 1, in {text}\n{text}',
        }
        common = {"input": {text: text}, "output": text, "metadata": {text: text}, "error": error, "worker_id": worker}
        run = writer.run(text, F, root, at=at, took=SECOND, child_key=text, attempt=2, retry_count=1, **common)
        writer.attempt(run, 1, at=at, took=1000, worker=text, error=error)
        writer.log(run, text, at=at, level="error", attempt=2)
        writer.key(writer.run(text, F, at=at, took=SECOND, **common), text)
        writer.task(text, text, schema=_schema(text))
        runs.append(id_text(run))
    newer = _newer(writer)
    for name in NAMES:
        writer.run(name, C, root, at=now - SECOND, took=SECOND, child_key=name)
        writer.task(name, name)
    writer.task(
        "all", "\n".join(PAYLOADS), schema={"type": "object", "properties": {text: _schema(text) for text in PAYLOADS}}
    )
    writer.write()
    return {"all": id_text(root), "runs": runs, "output": id_text(done), **newer}


def _newer(writer: Writer) -> dict[str, Any]:
    """Budgets, streams, what is waited for, pauses, forks: `burnt` has them all (but of a promise, `promises`, there is
    one for each text), and so has `fork`."""
    at = writer.now - MINUTE
    burnt = writer.run("burnt", R, at=at, metadata={text: text for text in PAYLOADS})
    fork = writer.run("fork", R, at=at)
    promises = []
    for number, text in enumerate(PAYLOADS):
        schema = {"title": text, "description": text, "type": "object", "properties": {text: _schema(text)}}
        wait = writer.run(
            "~promise", W, burnt, kind=13, waits=4, at=at + number, input={"name": text, "schema": schema}
        )
        promises.append(id_text(wait))
        for kind, waits, told in ((12, 3, {"key": text, "scope": text, "match": {text: text}}), (14, 5, {"key": text})):
            writer.run("~event" if kind == 12 else "~message", W, burnt, kind=kind, waits=waits, at=at, input=told)
        for run in (burnt, fork):
            writer.chunk(run, text, at=at + number)
            writer.add("budget", run_id=run, unit=text, source=run, root_id=run, parent=None, size=9, amount=9, used=1,
                       held=1, base=0, open=1)  # fmt: skip
            writer.add("spend", run_id=run, id=b"s", unit=text, root_id=run, source=run, attempt=1, amount=7, held=0)
        writer.event(text, {text: text}, at=at, scope=text, id=text, metadata={text: text})
    writer.add("pause", run_id=burnt, root_id=burnt, made_at=at, asked_by=PAYLOADS[0])
    writer.add("fork", root_id=fork, origin_id=burnt, origin_root=burnt, at_id=burnt, changed=1, made_at=at,
               asked_by=PAYLOADS[3])  # fmt: skip
    return {"burnt": id_text(burnt), "fork": id_text(fork), "promises": promises}


def _schema(text: str) -> dict[str, Any]:
    return {"title": text, "type": "string", "description": text, "default": text, "examples": [text]}


def _elements() -> list[Any]:
    """What a framework takes for an element, if JSON is given to it as it is."""
    props = {"src": "x", "onerror": "alert(1)", "dangerouslySetInnerHTML": {"__html": "<img src=x onerror=alert(1)>"}}
    return [
        {"type": "img", "props": props, "key": None, "ref": None, "constructor": None, "__k": None, "__v": 1},
        {"__proto__": {"polluted": "yes"}, "constructor": {"prototype": {"polluted": "yes"}}},
        {"toJSON": "alert(1)", "then": "alert(1)", "length": -1, "hasOwnProperty": 1},
        "x" * 200_000,
    ]
