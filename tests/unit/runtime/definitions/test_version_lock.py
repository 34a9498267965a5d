"""The lock of Node versions: which texts are ranges, the choice of a version, and invalid locks."""

from __future__ import annotations

from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.core.toml_text import read_toml
from slipway.runtime.definitions.version_lock import choose, is_range, read, render

PATH = "app/node-versions.lock"
COMMAND = "./pants generate-lockfiles --resolve=node:app"


@pytest.mark.parametrize("text", ["^22", "22", "22.x", ">=18 <21", "16 || 18", "~16.20", "*"])
def test_a_range(text: str) -> None:
    assert is_range(text)


@pytest.mark.parametrize("text", ["16.20.2", "22.0.0-rc.1", "jxcore", "lts", "16.20.2\n\u0661 x"])
def test_a_version_or_another_name_is_not_a_range(text: str) -> None:
    assert not is_range(text)


KNOWN = ["16.9.0", "16.20.2", "16.20.10", "18.0.0", "own"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("16", "16.20.10"),
        ("16.20.1 - 16.20.9", "16.20.2"),
        ("<16.20", "16.9.0"),
        (">=16", "18.0.0"),
    ],
)
def test_the_newest_known_version_in_a_range_is_chosen(wanted: str, expected: str) -> None:
    assert choose(wanted, KNOWN, "app/BUILD") == expected
    assert choose(wanted, reversed(KNOWN), "app/BUILD") == expected


@pytest.mark.parametrize(
    ("known", "found"), [(KNOWN, "own, 16.9.0, 16.20.2, 16.20.10, 18.0.0"), ([], "no definitions")]
)
def test_a_range_without_a_definition(known: Any, found: str) -> None:
    with pytest.raises(SlipwayError) as caught:
        choose("^22", known, "app/BUILD, field version")
    assert caught.value.what == 'no definition of Node.js matches "^22"'
    assert caught.value.where == "app/BUILD, field version"
    assert caught.value.found == found
    assert caught.value.next == ("./pants node-definitions --add=<version>\nor correct the range")


def test_a_lock_is_sorted_and_names_the_command_that_writes_it() -> None:
    assert render({"^22": "22.23.3", ">=16 <18": "16.20.2"}, COMMAND) == (
        f'# Written by: {COMMAND}\n[versions]\n">=16 <18" = "16.20.2"\n"^22" = "22.23.3"\n'
    )


numbers = st.integers(min_value=0, max_value=999)


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=5))
def test_a_written_lock_reads_back(versions: Any) -> None:
    locked = {f"~{a}.{b}": f"{a}.{b}.{c}" for a, b, c in versions}
    text = render(locked, COMMAND)
    assert read(read_toml(text.encode(), PATH, "lock"), PATH, COMMAND) == locked


BAD: Dict[str, Any] = {
    "nothing": ({}, "other keys than [versions]"),
    "another table": ({"versions": {}, "npm": {}}, "other keys than [versions]"),
    "a list": ({"versions": []}, "no table [versions]"),
    "a range for a version": ({"versions": {"^22": "^22"}}, "^22: '^22' is not a version"),
    "a number": ({"versions": {"^22": 22}}, "^22: 22 is not a version"),
    "a version with more": (
        {"versions": {"^22": "22.0.0/../16.0.0"}},
        "^22: '22.0.0/../16.0.0' is not a version",
    ),
    "a version outside of its range": (
        {"versions": {"^22": "22.1.0", "^16": "22.1.0"}},
        "^16: 22.1.0 is not in this range",
    ),
    "a name for a range": ({"versions": {"lts": "22.1.0"}}, "lts: 22.1.0 is not in this range"),
}


@pytest.mark.parametrize(("document", "found"), BAD.values(), ids=BAD)
def test_an_invalid_lock_leads_to_the_command_that_writes_it(document: Any, found: str) -> None:
    with pytest.raises(SlipwayError) as caught:
        read(document, PATH, COMMAND)
    assert caught.value.what == f'the lock "{PATH}" is not valid'
    assert (caught.value.where, caught.value.found, caught.value.next) == (PATH, found, COMMAND)
