"""The table's answers are npm's own; tests/npm asks the real one about many more."""

from __future__ import annotations

from typing import Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core import semver

YES: Dict[str, List[str]] = {
    "^1.2.3": ["1.2.3", "1.99.0"],
    "^0.2.3": ["0.2.3", "0.2.9"],
    "^0.0.3": ["0.0.3"],
    "^1": ["1.0.0", "1.9.9"],
    "^0": ["0.9.9"],
    "^0.0": ["0.0.9"],
    "~1.2.3": ["1.2.3", "1.2.9"],
    "~1": ["1.9.0"],
    "~>1.2": ["1.2.9"],
    "1.x": ["1.0.0", "1.5.9"],
    "1.2.*": ["1.2.7"],
    "": ["1.0.0"],
    ">=1.2.3 <2": ["1.2.3", "1.9.9"],
    ">= 1.2.3": ["5.0.0"],
    ">1.2": ["1.3.0"],
    "<=1.2": ["1.2.9"],
    "<1.2": ["1.1.9"],
    "1.2.3 - 2.3": ["2.3.9"],
    "1.2.3 - 2.3.4": ["2.3.4"],
    "^1 || ^3": ["1.0.0", "3.1.0"],
    "^1.0.0-beta.2": ["1.0.0-beta.3", "1.0.0", "1.5.0"],
    "1.0.0-beta": ["1.0.0-beta"],
    "=1.2.3": ["1.2.3", "1.2.3+build"],
    "v1.2.3": ["1.2.3", "v1.2.3"],
}
NO: Dict[str, List[str]] = {
    "^1.2.3": ["1.2.2", "2.0.0", "1.3.0-rc.1", "2.0.0-alpha"],
    "^0.2.3": ["0.3.0"],
    "^0.0.3": ["0.0.4"],
    "~1.2.3": ["1.3.0"],
    "1.x": ["2.0.0", "1.0.0-beta"],
    ">1.2": ["1.2.9"],
    "<=1.2": ["1.3.0"],
    "<1.2": ["1.2.0", "1.2.0-rc"],
    "1.2.3 - 2.3": ["2.4.0"],
    "^1.0.0-beta.2": ["1.0.0-beta.1", "1.0.0-alpha", "1.0.1-beta.3"],
    "<*": ["1.0.0"],
    "": ["1.0.0-beta"],
}


@pytest.mark.parametrize("spec", YES)
def test_versions_in_a_range(spec: str) -> None:
    assert [one for one in YES[spec] if not semver.satisfies(one, spec)] == []


@pytest.mark.parametrize("spec", NO)
def test_versions_outside_a_range(spec: str) -> None:
    assert [one for one in NO[spec] if semver.satisfies(one, spec) is not False] == []


@pytest.mark.parametrize("spec", ["latest", "next", "^1.2.3.4", ">=a", "npm:x@1", "1.2.3 || beta"])
def test_an_invalid_range_gives_none(spec: str) -> None:
    assert semver.satisfies("1.2.3", spec) is None


def test_an_invalid_version_gives_none() -> None:
    assert semver.satisfies("latest", "^1.0.0") is None


@given(st.text(), st.text())
def test_never_fails(version: str, spec: str) -> None:
    assert semver.satisfies(version, spec) in (True, False, None)
