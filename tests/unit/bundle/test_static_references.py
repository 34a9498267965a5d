"""References to published files: found in every form, and held against what is published."""

from __future__ import annotations

from typing import List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.bundle.static_references import StaticBase, missing
from slipway.core.errors import SlipwayError

BASE = StaticBase.parse("https://static.example.com/dist/", "target, field static_base_url")


def find(text: str, base: StaticBase = BASE) -> List[Tuple[int, str]]:
    return [(one.line, one.path) for one in base.references("page.html", text)]


FORMS = {
    "a script": '<script src="https://static.example.com/dist/js/a.js"></script>',
    "single quotes": "<script src='https://static.example.com/dist/js/a.js'></script>",
    "no quotes": "<script src=https://static.example.com/dist/js/a.js></script>",
    "without a scheme": '<script src="//static.example.com/dist/js/a.js">',
    "another scheme": '<script src="http://static.example.com/dist/js/a.js">',
    "a query": '<img src="https://static.example.com/dist/js/a.js?v=1&amp;w=2">',
    "a fragment": '<use href="https://static.example.com/dist/js/a.js#icon"/>',
    "CSS": "background:url(https://static.example.com/dist/js/a.js)",
    "CSS in quotes": 'background:url("//static.example.com/dist/js/a.js")',
    "a script's string": "var a = `https://static.example.com/dist/js/a.js`;",
    "an escaped string": '"html": "<img src=\\"https://static.example.com/dist/js/a.js\\">"',
    "percent signs": '<img src="https://static.example.com/dist/js/%61.js">',
    "dots": '<img src="https://static.example.com/dist/css/../js/a.js">',
    "text": "see https://static.example.com/dist/js/a.js for it",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_each_form_of_a_reference_is_found(text: str) -> None:
    assert find(text) == [(1, "dist/js/a.js")]


def test_every_address_of_a_srcset_counts() -> None:
    text = (
        '<img srcset="https://static.example.com/dist/1.png 1x, //static.example.com/dist/2.png 2x,'
        'https://static.example.com/dist/3.png 3x">'
    )
    assert find(text) == [(1, "dist/1.png"), (1, "dist/2.png"), (1, "dist/3.png")]


NOT_ONE = {
    "another host": '<script src="https://cdn.example.com/dist/js/a.js">',
    "another path": '<script src="https://static.example.com/other/a.js">',
    "a longer host": '<script src="https://static.example.com.evil.example/dist/a.js">',
    "the base alone": 'window.publicPath = "https://static.example.com/dist/";',
    "a folder": '<a href="https://static.example.com/dist/js/">',
    "braces": '<script src="https://static.example.com/dist/{{ name }}.js">',
    "braces after the path": '<script src="https://static.example.com/dist/js/{{name}}">',
    "EJS": '<script src="https://static.example.com/dist/<%= name %>.js">',
    "a template string": "`https://static.example.com/dist/js/${name}.js`",
    "pug": 'script(src="https://static.example.com/dist/#{name}.js")',
    "a relative one": '<script src="js/a.js">',
}


@pytest.mark.parametrize("text", NOT_ONE.values(), ids=NOT_ONE)
def test_references_to_other_files_are_ignored(text: str) -> None:
    assert find(text) == []


def test_a_reference_carries_its_line() -> None:
    text = (
        "<html>\n\n<img src='//static.example.com/dist/a.png'>\r\n//static.example.com/dist/b.png"
    )
    assert find(text) == [(3, "dist/a.png"), (4, "dist/b.png")]


def test_a_base_without_its_last_slash_means_the_same() -> None:
    base = StaticBase.parse("https://static.example.com/dist", "")
    assert find("//static.example.com/dist/a.js //static.example.com/distant/a.js", base) == [
        (1, "dist/a.js")
    ]


def test_a_port_and_dots_in_the_base_stand_for_themselves() -> None:
    base = StaticBase.parse("http://127.0.0.1:8080/", "")
    assert find("http://127.0.0.1:8080/a.js http://127x0.0.1:8080/b.js", base) == [(1, "a.js")]


def test_only_what_is_not_published_is_missing() -> None:
    text = "//static.example.com/dist/there.js\n//static.example.com/dist/gone.js?v=1"
    (one,) = missing(BASE.references("views/index.html", text), {"dist/there.js"})
    assert (one.file, one.line, one.path) == ("views/index.html", 2, "dist/gone.js")
    assert one.address == "//static.example.com/dist/gone.js?v=1"


BAD = {
    "a path": "/dist/",
    "a host alone": "static.example.com/dist/",
    "another protocol": "ftp://static.example.com/dist/",
    "a query": "https://static.example.com/dist/?v=1",
}


@pytest.mark.parametrize("address", BAD.values(), ids=BAD)
def test_an_address_that_is_not_a_base_url_is_refused(address: str) -> None:
    with pytest.raises(SlipwayError) as caught:
        StaticBase.parse(address, "//app:bundle, field static_base_url")
    assert caught.value.where == "//app:bundle, field static_base_url"
    assert caught.value.found == address
    assert 'use the form "https://static.example.com/dist/"' in caught.value.next


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_searched(text: str) -> None:
    for one in BASE.references("page", text + "//static.example.com/dist/" + text):
        assert one.line >= 1
