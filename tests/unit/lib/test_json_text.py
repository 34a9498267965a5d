from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from build_rules.lib import json_text
from build_rules.lib.errors import SlipwayError

BAD = {
    "cut off": ('{\n "a": 1,\n', "is not JSON", "x.json:3:1"),
    "comma": ('{\n "a": 1,\n}', "is not JSON", "x.json:3:1"),
    "conflict": ('{\n<<<<<<< HEAD\n "a": 1\n}', "is not JSON", "x.json:2:1"),
    "empty": ("", "is not JSON", "x.json:1:1"),
    "list": ("[]", "holds no JSON object", "x.json"),
    "nan": ('{"a": NaN}', "NaN is no JSON value", "x.json"),
    "deep": ('{"a":' * 200_000, "is not JSON", "x.json"),
    "twice": ('{\n "a": 1,\n "b": 2,\n "a": 3\n}', 'two entries "a"', "x.json:4"),
}


@pytest.mark.parametrize("name", BAD)
def test_says_what_is_wrong_and_where(name: str) -> None:
    text, what, where = BAD[name]
    with pytest.raises(SlipwayError) as caught:
        json_text.load_object(text, "x.json", next="mend it")
    assert what in caught.value.what
    assert caught.value.where == where
    assert caught.value.next == "mend it"


def test_a_byte_order_mark_is_no_fault() -> None:
    assert json_text.load_object('\ufeff{"a": 1}', "x.json", next="") == {"a": 1}


def test_names_both_lines_of_a_doubled_key() -> None:
    with pytest.raises(SlipwayError) as caught:
        json_text.load_object('{\n "a": 1,\n "a": 3\n}', "x.json", next="")
    assert caught.value.found == '"a" on lines 2, 3'


def test_a_key_is_not_taken_for_a_value() -> None:
    assert json_text.lines_of_key('{"x": "a",\n "a" : 1}', "a") == [2]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), _JSON))
def test_canonical_bytes_read_as_the_same_document(document: Any) -> None:
    written = json_text.canonical(document)
    assert json.loads(written) == document
    assert json_text.canonical(json.loads(written)) == written
