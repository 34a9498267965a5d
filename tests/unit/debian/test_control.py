"""Paragraphs and dependencies, as in archives."""

from __future__ import annotations

import time
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.debian.control import Relation, parse_relations, parse_stanzas


def test_paragraphs_fields_and_continuations() -> None:
    text = (
        "Package: a\nDescription: one\n two\n .\n three\n\n\n# a comment\nPackage: b\nTag:\n x::y\n"
    )
    assert parse_stanzas(text) == [
        {"Package": "a", "Description": "one\ntwo\n.\nthree"},
        {"Package": "b", "Tag": "\nx::y"},
    ]


def test_a_field_of_a_million_lines_is_read_in_one_go() -> None:
    """Each line that copies those before it would take minutes, with one wide character in them."""
    lines = "".join(" aaa\n" for _ in range(1 << 20))
    started = time.monotonic()
    (stanza,) = parse_stanzas(f"Package: a\nX: \U0001f600\n{lines}")
    assert time.monotonic() - started < 30
    assert stanza["X"].count("aaa") == 1 << 20


@given(st.text())
def test_any_text_is_read_to_its_end(text: str) -> None:
    *_, last = parse_stanzas(f"{text}\n\nPackage: last\n")
    assert last["Package"] == "last"


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("", []),
        ("libc6", [["libc6"]]),
        ("libc6 (>= 2.14), awk", [["libc6 (>= 2.14)"], ["awk"]]),
        ("debconf (>= 0.5) | debconf-2.0", [["debconf (>= 0.5)", "debconf-2.0"]]),
        ("python3:any (>= 3.5~)", [["python3 (>= 3.5~)"]]),
        ("a(=1:2-3),b", [["a (= 1:2-3)"], ["b"]]),
        ("libc6 (>> 2.31), libc6 (<< 2.32)", [["libc6 (>> 2.31)"], ["libc6 (<< 2.32)"]]),
    ],
)
def test_relations(text: str, clauses: List[List[str]]) -> None:
    read = parse_relations(text, "x: Depends")
    assert [[str(relation) for relation in clause] for clause in read] == clauses


def test_a_relation_has_name_operator_and_version() -> None:
    assert parse_relations("a (<= 1)", "x")[0][0] == Relation("a", "<=", "1")


@pytest.mark.parametrize("text", ["a (1)", "a (== 1)", "A", "a |", "a (>= 1", "a b"])
def test_an_unreadable_relation_names_the_package(text: str) -> None:
    with pytest.raises(SlipwayError, match="cannot parse the dependency") as caught:
        parse_relations(text, "bash: Depends")
    assert caught.value.where == "bash: Depends"
