"""The shape of messages: what, where, found, next, always in this order."""

from __future__ import annotations

import pytest

from slipway.core.errors import SlipwayError, SlipwayErrors, nearest, suggesting


def test_a_message_has_its_parts_in_order() -> None:
    error = SlipwayError('the lock "a" is stale', next="./pants x", found="2", where="a:1")
    assert str(error) == (
        'the lock "a" is stale\n'
        "  in:    a:1\n"
        "  found: 2\n"
        "  next:  ./pants x"
    )  # fmt: skip


def test_parts_without_a_value_are_left_out() -> None:
    assert str(SlipwayError("it failed", next="try again")) == "it failed\n  next:  try again"
    assert str(SlipwayError("it failed")) == "it failed"


def test_further_lines_of_a_part_stand_below_the_first() -> None:
    error = SlipwayError("it failed", found="one\ntwo", next="this\nor that")
    assert str(error).split("\n") == [
        "it failed",
        "  found: one",
        "         two",
        "  next:  this",
        "         or that",
    ]


def test_several_faults_are_numbered_and_kept() -> None:
    error = SlipwayErrors("two are wrong", iter(["a: b", "c: d"]), where="file", next="mend them")
    assert error.faults == ("a: b", "c: d")
    assert str(error).split("\n") == [
        "two are wrong",
        "  in:    file",
        "  found: 1. a: b",
        "         2. c: d",
        "  next:  mend them",
    ]


def test_an_error_without_a_way_out_gets_that_of_its_surroundings() -> None:
    with pytest.raises(SlipwayError) as raised, suggesting("fetch it again", where="a.tar"):
        raise SlipwayError("it is cut off", found="3 bytes")
    assert str(raised.value).split("\n") == [
        "it is cut off",
        "  in:    a.tar",
        "  found: 3 bytes",
        "  next:  fetch it again",
    ]


def test_what_an_error_says_itself_stands() -> None:
    with pytest.raises(SlipwayError) as raised, suggesting("fetch it again", where="a.tar"):
        raise SlipwayError("it is cut off", where="a.tar, byte 3", next="try again")
    assert (raised.value.where, raised.value.next) == ("a.tar, byte 3", "try again")


def test_the_nearest_names_come_best_first_and_nothing_for_what_is_far_off() -> None:
    known = ("stable", "sit", "pre", "prod")
    assert nearest("prd", known)[0] == "prod"
    assert nearest("stabel", known)[0] == "stable"
    assert nearest("quite-another", known) == []
    assert nearest("x", []) == []
    assert len(nearest("a1", [f"a{n}" for n in range(9)], 2)) == 2
