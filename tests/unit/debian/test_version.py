"""Debian's order of versions, compared with dpkg."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.debian.version import satisfies, version_key

# Old, relation, new: what deb-version(7) says, and what real archives have.
CASES = (
    ("1.0", "<<", "1.1"),
    ("1.9", "<<", "1.10"),
    ("1.2", "<<", "1.2.1"),
    ("1.2.0", ">>", "1.2"),
    ("1.2.", "=", "1.2.0"),
    ("1.0", "=", "1.0-0"),
    ("1.0", "=", "0:1.0"),
    ("1.0-0", "=", "1.0-00"),
    ("1.01", "=", "1.1"),
    ("9:0", "<<", "10:0"),
    ("1:0.1", ">>", "9.9"),
    ("1.0~rc1", "<<", "1.0"),
    ("1.0~~", "<<", "1.0~"),
    ("1.0~~a", "<<", "1.0~"),
    ("1.0~rc1-1", "<<", "1.0-1"),
    ("1.0-1~deb11u1", "<<", "1.0-1"),
    ("1.0-1", "<<", "1.0-1+b1"),
    ("1.0-1+b1", "<<", "1.0-1.1"),
    ("1.0-1", "<<", "1.0-1ubuntu1"),
    ("2.31-13+deb11u9", "<<", "2.31-13+deb11u11"),
    ("1.0a", "<<", "1.0+"),
    ("1.0", "<<", "1.0a"),
    ("1.0Z", "<<", "1.0a"),
    ("1.0-a-1", ">>", "1.0-1"),
    ("6.2+20201114-2", "<<", "6.2+20201114-2+deb11u2"),
    ("1.0.0", "<<", "1.0.0-1~"),
    ("0", "<<", "0a"),
    ("0~", "<<", "0"),
)
OPPOSITE = {"<<": ">>", ">>": "<<", "=": "="}


@pytest.mark.parametrize(("left", "relation", "right"), CASES)
def test_a_pair_stands_in_the_relation_and_its_reverse(
    left: str, relation: str, right: str
) -> None:
    assert satisfies(left, relation, right)
    assert satisfies(right, OPPOSITE[relation], left)
    assert satisfies(left, "<=", right) == (relation != ">>")
    assert satisfies(left, ">=", right) == (relation != "<<")


@pytest.mark.parametrize(
    "version", ["", "a:1", ":1", "1:", "1 2", "1_2", "1/2", "é", "1\n", "9" * 257, "9" * 11 + ":1"]
)
def test_what_is_no_version_is_named(version: str) -> None:
    with pytest.raises(SlipwayError, match="is not a Debian version"):
        version_key(version)


def test_numbers_may_have_many_digits() -> None:
    assert satisfies("1" + "0" * 255, ">>", "9" * 255)
    assert satisfies("2147483647:1", ">>", "9" * 255)


def test_an_unknown_relation_is_named() -> None:
    with pytest.raises(SlipwayError, match='"==" is not a relation'):
        satisfies("1", "==", "1")


needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg"), reason="dpkg is not on this machine")


def dpkg_says(left: str, relation: str, right: str) -> bool:
    names = {"<<": "lt", "<=": "le", "=": "eq", ">=": "ge", ">>": "gt"}
    command = ["dpkg", "--compare-versions", left, names[relation], right]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


@needs_dpkg
@pytest.mark.parametrize(("left", "relation", "right"), CASES)
def test_dpkg_agrees_with_the_table(left: str, relation: str, right: str) -> None:
    assert dpkg_says(left, relation, right)


# Few letters, so that parts are often equal and the ends decide.
PARTS = st.text("01~a.+Z", max_size=5)
VERSIONS = st.builds(
    lambda epoch, upstream, revision: f"{epoch}1{upstream}{revision}",
    st.sampled_from(["", "0:", "1:"]),
    PARTS,
    st.one_of(st.just(""), PARTS.filter(bool).map("-{}".format)),
)


@needs_dpkg
@settings(max_examples=25, deadline=None)
@given(VERSIONS, VERSIONS)
def test_dpkg_agrees_on_made_up_versions(left: str, right: str) -> None:
    for relation in ("<<", "="):
        assert satisfies(left, relation, right) == dpkg_says(left, relation, right)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_the_order_is_total(one: str, two: str, three: str) -> None:
    keys = sorted(map(version_key, (one, two, three)))
    assert keys[0] <= keys[1] <= keys[2]
    assert keys[0] <= keys[2]
