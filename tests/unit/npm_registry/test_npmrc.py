"""Reading .npmrc files; tests/npm compares many more lines with npm's own reader."""

from __future__ import annotations

from typing import Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.npm_registry import npmrc

ENV = {"TOKEN": "t0ken", "EMPTY": ""}


def _read(text: str) -> Dict[str, str]:
    return {key: one.value for key, one in npmrc.parse(text, "~/.npmrc", ENV).items()}


LINES = {
    "registry=https://r.example/": {"registry": "https://r.example/"},
    "  registry =  https://r.example/  ": {"registry": "https://r.example/"},
    "; a comment\n# another\n\nkey=1": {"key": "1"},
    "key=value ; a comment": {"key": "value"},
    "key=value#no": {"key": "value"},
    r"key=a\;b\#c\\d": {"key": r"a;b#c\d"},
    'key="a;b#c"': {"key": "a;b#c"},
    "key='a;b#c'": {"key": "a;b#c"},
    r'key="line\nbreak"': {"key": "line\nbreak"},
    "key": {"key": "true"},
    "key=": {"key": ""},
    "key=a=b": {"key": "a=b"},
    "//r.example/:_authToken=${TOKEN}": {"//r.example/:_authToken": "t0ken"},
    "//${TOKEN}.example/:_authToken=x": {"//t0ken.example/:_authToken": "x"},
    r"key=\${TOKEN}": {"key": "${TOKEN}"},
    "key=a${EMPTY}b": {"key": "ab"},
    "key=a${NO?}b": {"key": "ab"},
    "ca[]=one\nca[]=two": {"ca": "one,two"},
    "a=1\na=2": {"a": "2"},
    "a=1\r\nb=2\r\n": {"a": "1", "b": "2"},
    "a=1\n[section]\nb=2": {"a": "1"},
    "\ufeffa=1": {"a": "1"},
    "": {},
}


@pytest.mark.parametrize("text", LINES)
def test_lines_as_npm_reads_them(text: str) -> None:
    assert _read(text) == LINES[text]


def test_a_variable_that_is_not_set_is_told() -> None:
    setting = npmrc.parse("a=1\n\nkey=${NO}", "x/.npmrc", {})["key"]
    assert (setting.value, setting.unset, setting.source) == ("${NO}", ("NO",), "x/.npmrc:3")


def test_a_key_that_lacks_its_variable_is_no_setting() -> None:
    assert _read("//${NO}/:_authToken=x") == {}


# A line, and the variables that it asks for.
VARIABLES = {
    "key=${A}${B?}${A}": ("A", "B", "A"),
    "//${A}/:key=${B}": ("A", "B"),
    "list[]=${A}\nlist[]=${B}": ("A", "B"),
    # What is not filled in, and what a comment has, is not asked for.
    r"key=\${A} # ${B}": (),
    # Quotes hide a dollar, or a brace, as JSON does.
    r'key="\u0024{A}"': ("A",),
    r'key="$\u007bA}"': ("A",),
    r"""key='"\u0024{A}"'""": ("A",),
    r'"//\u0024{A}/:key"=x': ("A",),
}


@pytest.mark.parametrize("text", VARIABLES)
def test_the_variables_of_a_line_are_those_that_are_filled_in(text: str) -> None:
    (setting,) = npmrc.parse(text, "x", {"A": "a", "B": "b"}).values()
    assert setting.variables == VARIABLES[text]


def test_messages_show_the_names_of_variables_alone() -> None:
    text = 'a=x${A}y\nb=xy\nc[]=${A}\nc[]=z\n"d"="${A\\n}"'
    settings = npmrc.parse(text, "x", {"A": "secret"}).values()
    assert [one.shown for one in settings] == ["x${A}y", "xy", "${A},z", "${A\\n}"]


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    settings = npmrc.parse(f"{text}\nlast=one\n", "x", ENV)
    assert [one.shown for key, one in settings.items() if key.endswith("last")] == ["one"]
