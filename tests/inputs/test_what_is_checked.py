"""Each kind of content from outside, at each moment, with content that differs from its lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.inputs import page
from tests.inputs.rows import INPUTS, ROWS, Strike

STRIKES = [(row.name, moment, strike) for row in ROWS for moment, strike in row.strikes.items()]


@pytest.mark.parametrize(
    ("name", "moment", "strike"), STRIKES, ids=[f"{name}, {moment}" for name, moment, _ in STRIKES]
)
def test_another_content_is_refused(name: str, moment: str, strike: Strike, tmp_path: Path) -> None:
    page.hold(name, moment, strike(tmp_path))


def test_the_page_says_what_the_tests_saw() -> None:
    text = page.render(INPUTS, page.read())
    if os.environ.get("SLIPWAY_WRITE_PAGES"):
        page.PAGE.write_text(text)
    assert page.PAGE.read_text() == text
    assert set(page.read()) == {name for name, _ in INPUTS}
