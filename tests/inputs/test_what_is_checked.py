"""Each kind of content from outside, at each moment, with content that differs from its lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.inputs import page
from tests.inputs.rows import INPUTS, ROWS
from tests.tiers import long_except

STRIKES = {
    f"{row.name}, {moment}": (row.name, moment, strike)
    for row in ROWS
    for moment, strike in row.strikes.items()
}
# One cache of downloads has all kinds of content.
QUICK = [one for one in STRIKES if not one.endswith("cache of downloads")]
QUICK.append("npm tarball, found in a cache of downloads")


@pytest.mark.parametrize("which", long_except(QUICK, STRIKES))
def test_another_content_is_refused(which: str, tmp_path: Path) -> None:
    name, moment, strike = STRIKES[which]
    page.hold(name, moment, strike(tmp_path))


def test_the_page_says_what_the_tests_saw() -> None:
    text = page.render(INPUTS, page.read())
    if os.environ.get("SLIPWAY_WRITE_PAGES"):
        page.PAGE.write_text(text)
    assert page.PAGE.read_text() == text
    assert set(page.read()) == {name for name, _ in INPUTS}
