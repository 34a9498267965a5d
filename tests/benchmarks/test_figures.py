"""The benchmark's table: pairs, medians and spreads, checked on made-up samples."""

from __future__ import annotations

import pytest

from tests.benchmarks.figures import OURS, THEIRS, Figures, Measure

MEASURES = (
    Measure("cold", "from nothing"),
    Measure("once", "made once"),
    Measure("none", "nothing"),
)


@pytest.fixture
def figures() -> Figures:
    made = Figures(MEASURES)
    for ours, theirs in ((10.0, 20.0), (30.0, 40.0), (12.0, 48.0)):
        made.add("cold", OURS, ours)
        made.add("cold", THEIRS, theirs)
    made.add("once", OURS, 0.25)
    return made


def test_a_ratio_is_taken_pair_by_pair(figures: Figures) -> None:
    assert figures.ratios("cold") == [0.5, 0.75, 0.25]


def test_the_table_shows_medians_spreads_and_what_has_no_counterpart(figures: Figures) -> None:
    assert figures.table().splitlines() == [
        "| | Slipway | script | ratio |",
        "|---|---|---|---|",
        "| from nothing | 12.0 (10.0 to 30.0 s) | 40.0 (20.0 to 48.0 s) | 0.50 (0.25 to 0.75) |",
        "| made once | 0.25 s |  |  |",
    ]


def test_the_document_keeps_every_sample(figures: Figures) -> None:
    assert figures.document()["cold"] == {
        "title": "from nothing",
        "slipway": [10.0, 30.0, 12.0],
        "script": [20.0, 40.0, 48.0],
        "ratio_median": 0.5,
    }
