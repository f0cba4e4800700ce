"""Forms that are made from a task's schema, and from a promise's: what is typed arrives as it was typed, whatever the
schema looks like, and what is wrong is said beside its field."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Open, Serve
from tests.browser.driving import hindrances, module
from tests.browser.rows import Writer
from tests.browser.serving import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

LARGE = "90071992547409931234567890"
_DEFS: dict[str, Any] = {
    "Node": {
        "type": "object",
        "title": "Node",
        "properties": {"of": {"$ref": "#/$defs/Node"}, "n": {"type": "integer"}},
    },
    "Colour": {"enum": ["red", "green", None], "default": "red"},
    "Loop": {"$ref": "#/$defs/Loop"},
    "a/b~c": {"type": "string", "format": "date"},
}
ODD: dict[str, Any] = {
    "$ref": "#/$defs/Whole",
    "$defs": {
        **_DEFS,
        "Whole": {
            "type": "object",
            "required": ["size", "name", "node", "kind", "none", "flag", "only"],
            "properties": {
                "size": {"type": "integer", "minimum": 3, "description": "How many."},
                "name": {"type": "string", "title": "Full name"},
                "node": {"$ref": "#/$defs/Node"},
                "kind": {"enum": [1, "1", 2.5, {"a": 1}]},
                "none": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "flag": {"type": "boolean"},
                "only": {"const": "v2"},
                "rate": {"type": "number"},
                "colour": {"$ref": "#/$defs/Colour"},
                "maybe": {"type": ["boolean", "null"], "default": None},
                "zero": {"type": "integer", "default": 0},
                "empty": {"type": "string", "default": ""},
                "text": {"type": "string", "default": "a\nb"},
                "day": {"$ref": "#/$defs/a~1b~0c"},
                "any": True,
                "never": False,
                "loop": {"$ref": "#/$defs/Loop"},
                "lost": {"$ref": "#/$defs/nowhere"},
                "many": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                "map": {"type": "object", "additionalProperties": {"type": "integer"}},
                "either": {"oneOf": [{"$ref": "#/$defs/Node"}, {"type": "string"}], "discriminator": {}},
                "modes": {"anyOf": [{"const": "x"}, {"enum": ["y", "z"]}]},
                "__proto__": {"type": "string"},
                "constructor": {"type": "constructor"},
                "titled": {"type": "string", "title": {"x": 1}, "description": 7},
            },
        },
    },
}  # fmt: skip


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "forms.db", time.time_ns() // 1000)


def known(writer: Writer, **schemas: Any) -> str:
    """The store, with tasks that take these."""
    for name, schema in schemas.items():
        writer.task(name, schema=schema)
    writer.write()
    return writer.url


def inputs(writer: Writer) -> list[str]:
    with closing(sqlite3.connect(writer.file)) as db:
        found = db.execute("select input from run where task = 'odd' order by id").fetchall()
    return [text for (text,) in found]


async def start(page: Page) -> None:
    await page.get_by_role("button", name="Start the run").click()


async def told(page: Page, label: str, what: str) -> None:
    """That is said to be wrong with a field, for who sees and for who listens."""
    text = re.compile(re.escape(f"✗ {what}"))
    await expect(page.get_by_label(label)).to_have_accessible_description(text)


@pytest.mark.long
async def test_what_is_typed_arrives_as_it_was_typed(opened: Open, serve: Serve, writer: Writer):
    page = await opened(serve(known(writer, odd=ODD)), "/tasks/odd")
    await page.get_by_label("size").fill(LARGE)
    await expect(page.locator(".field .wrong")).to_have_count(0)
    await page.get_by_label("Full name").fill("two\nlines ")
    await page.get_by_label("node").fill(f'{{"n": {LARGE}, "of": {{"n": 1.0}}}}')
    await page.get_by_label("kind").select_option(label='"1"')
    await page.get_by_label("rate").fill("1.0")
    await page.get_by_label("maybe").select_option("false")
    await page.get_by_label("modes").select_option("z")
    await page.get_by_label("many", exact=True).fill("[]")
    await page.get_by_label("__proto__").fill("p")
    await page.get_by_role("button", name="As JSON").click()
    whole = await page.get_by_label("Input as JSON").input_value()
    await page.get_by_role("button", name="As a form").click()
    await expect(page.get_by_label("size")).to_have_value(LARGE)
    await page.get_by_role("button", name="As JSON").click()
    again = await page.get_by_label("Input as JSON").input_value()
    assert json.loads(again, parse_float=str) == json.loads(whole, parse_float=str)
    await page.get_by_role("button", name="As a form").click()
    await start(page)
    await expect(page.locator("h1")).to_have_text("odd")
    (found,) = inputs(writer)
    assert json.loads(found, parse_float=str) == {
        "size": int(LARGE), "name": "two\nlines ", "node": {"n": int(LARGE), "of": {"n": "1.0"}},
        "kind": "1", "none": None,
        "flag": False, "only": "v2", "rate": "1.0", "colour": "red", "maybe": False, "zero": 0, "empty": "",
        "text": "a\nb", "modes": "z", "many": [], "__proto__": "p",
    }  # fmt: skip


async def test_what_is_wrong_is_said_beside_its_field(opened: Open, serve: Serve, writer: Writer, watch):
    watch.expect("422")
    page = await opened(serve(known(writer, odd=ODD)), "/tasks/odd")
    await start(page)
    await expect(page.get_by_role("alert")).to_have_text("4 fields need another look.")
    await expect(page.get_by_label("size")).to_be_focused()
    await told(page, "size", "size is needed.")
    await page.get_by_label("size").fill("1")
    await page.get_by_label("Full name").fill("x")
    await page.get_by_label("node").fill('{"n": "seven"}')
    await page.get_by_label("kind").select_option("2.5")
    await page.get_by_label("day").fill("tomorrow")
    await start(page)
    await told(page, "day", "day must be like 2026-01-31.")
    await page.get_by_label("day").fill("2026-02-28")
    await start(page)
    await expect(page.get_by_role("alert")).to_have_text("2 fields do not fit.")
    await told(page, "size", "must be at least 3")
    await told(page, "node", "node.n: must be integer")
    await expect(page.get_by_label("size")).to_be_focused()
    assert inputs(writer) == []
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await hindrances(page) == []
    await page.get_by_role("button", name="As JSON").click()
    await page.get_by_label("Input as JSON").fill('{"size": 3, "unknown": 1}')
    await page.get_by_role("button", name="As a form").click()
    await expect(page.get_by_role("alert")).to_contain_text("no place in the form")


@pytest.mark.long
async def test_schemas_of_all_shapes_have_a_form_or_json(opened: Open, serve: Serve, writer: Writer):
    wide = {
        "type": "object",
        "properties": {f"f{at}": {"type": "string", "description": "x" * 5000} for at in range(200)},
    }
    deep = {"properties": {"x": {"enum": 5}, "y": {"anyOf": 3}, "z": None}, "required": "x"}
    url = known(
        writer, wide=wide, yes=True, no={"type": "object", "properties": {}}, list={"type": "array", "items": False},
        loop={"$ref": "#"}, broken={"properties": [1], "enum": 3, "required": 4},
        deep={"allOf": [{"$ref": "#/$defs/n"}], "$defs": {"n": deep}},
    )  # fmt: skip
    site = serve(url)
    for name in ("yes", "no", "list", "loop", "broken"):
        page = await opened(site, f"/tasks/{name}")
        await expect(page.get_by_label("Input as JSON")).to_be_visible()
    page = await opened(site, "/tasks/deep")
    await expect(page.locator("form.start > .field")).to_have_count(3)
    page = await opened(site, "/tasks/wide")
    await page.get_by_label("f199").fill("last")
    assert len(await page.locator(".field small").first.inner_text()) < 700
    await page.get_by_label("f199").press("Enter")
    await expect(page.locator("h1")).to_have_text("wide")


NUMBERS = [
    ("integer", "007", "7"), ("integer", " 12 ", "12"), ("integer", "1e3", "1000"), ("integer", "-0", "-0"),
    ("number", ".5", "0.5"), ("number", "1.50", "1.50"), ("number", "1E5", "1E5"), ("number", "+3", "3"),
    ("integer", "1.5", None), ("integer", "0x10", None), ("number", "NaN", None), ("number", "1e999", None),
    ("number", "Infinity", None), ("integer", "1 000", None),
]  # fmt: skip


async def test_numbers(opened: Open, site: Site):
    page = await opened(site, "/store")
    for type_, typed, told in NUMBERS:
        form = await module(page, "core/schema.js", "fields", {"properties": {"n": {"type": type_}}})
        assert form is not None
        said = await module(page, "core/schema.js", "written", form, {"n": typed})
        assert said["text"] == ("{}" if told is None else f'{{\n  "n": {told}\n}}'), typed
        assert list(said["wrong"]) == ([] if told is not None else ["n"])


async def test_fields_are_named_as_their_properties_and_not_as_a_type_that_several_have(opened: Open, site: Site):
    page = await opened(site, "/store")
    address = {
        "type": "object",
        "title": "Address",
        "description": "Where.",
        "properties": {"city": {"type": "string"}},
    }
    schema = {
        "$defs": {"Address": address},
        "properties": {
            "home": {"$ref": "#/$defs/Address"},
            "work": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}], "default": None, "title": "At work"},
            "took": {"type": "string", "format": "duration"},
        },
    }
    form = await module(page, "core/schema.js", "fields", schema)
    assert [field["label"] for field in form] == ["home", "At work", "took"]
    assert [field["sketch"] for field in form] == ['{"city":""}', '{"city":""}', ""]
    assert form[2]["about"].endswith("such as PT1H30M")
    optional = {"anyOf": [address, {"type": "null"}]}
    for whole, told in ((address, False), (optional, True)):
        assert await module(page, "core/schema.js", "whole", whole) == {"about": "Where.", "isNull": told}
    assert await module(page, "core/schema.js", "whole", None) == {"about": "", "isNull": False}
    wait = {"task": "~event", "preview": '{"key":"a\\"b","scope":"s","match":{}}'}
    assert [await module(page, "core/states.js", name, wait) for name in ("waitsFor", "scopeOf")] == ['a"b', "s"]
