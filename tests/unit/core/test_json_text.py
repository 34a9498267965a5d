from __future__ import annotations

import json
import time
from typing import Any, Tuple, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core import json_text
from slipway.core.errors import SlipwayError

BAD = {
    "cut off": ('{\n "a": 1,\n', "is not JSON", "x.json:3:1"),
    "comma": ('{\n "a": 1,\n}', "is not JSON", "x.json:3:1"),
    "conflict": ('{\n<<<<<<< HEAD\n "a": 1\n}', "is not JSON", "x.json:2:1"),
    "empty": ("", "is not JSON", "x.json:1:1"),
    "list": ("[]", "does not contain a JSON object", "x.json"),
    "nan": ('{"a": NaN}', "NaN is not a JSON value", "x.json"),
    "deep": ('{"a":' * 200_000, "is not JSON", "x.json"),
    "huge": ('{"a": ' + "9" * 1_000_000 + "}", "a number has 1000000 digits", "x.json"),
    "huge below zero": ('{"a": -' + "9" * 21 + "}", "a number has 21 digits", "x.json"),
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


def test_one_doubled_key_among_many_is_found_at_once() -> None:
    many = ",\n".join(f'"{number:x}": 0' for number in range(200_000))
    began = time.monotonic()
    with pytest.raises(SlipwayError, match='two entries "0" in the same object') as caught:
        json_text.load_object(f'{{{many},\n"0": 1}}', "x.json", next="")
    assert caught.value.found == '"0" on lines 1, 200001'
    assert (
        time.monotonic() - began < 30
    )  # seconds; an algorithm with quadratic time would need an hour


def test_a_key_that_is_often_there_is_told_in_short() -> None:
    name = "x" * 10_000
    with pytest.raises(SlipwayError) as caught:
        json_text.load_object("{" + ",\n".join([f'"{name}": 0'] * 1000) + "}", "x.json", next="")
    assert "on lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …" in caught.value.found
    assert len(str(caught.value)) < 1000


def test_the_largest_numbers_that_computers_count_with_are_read() -> None:
    text = '{"a": 18446744073709551615, "b": -9223372036854775808}'
    assert json_text.load_object(text, "x.json", next="") == {"a": 2**64 - 1, "b": -(2**63)}


def test_what_cannot_be_read_is_always_a_value_error() -> None:
    texts: Tuple[Union[str, bytes], ...] = ("[" * 200_000, "9" * 21, "", b"\xff")
    for text in texts:
        with pytest.raises(ValueError, match=r"nested|digits|Expecting value|codec"):
            json_text.loads(text)


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
