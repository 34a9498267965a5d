"""Symlinks that leave their tree, directly or through other symlinks."""

from __future__ import annotations

from typing import Dict

import pytest

from slipway.archive.inner_links import leaves


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({"a/link": "file"}, False),
        ({"a/link": "../b/file"}, False),
        ({"a/link": "../../file"}, True),
        ({"a/link": "/etc/passwd"}, True),
        ({"a/link": "../b/up/up2", "b/up": ".."}, False),
        ({"a/link": "../b/up/../file", "b/up": ".."}, True),
        ({"a/link": "../b", "b": "/etc"}, True),
    ],
    ids=[
        "beside",
        "another folder",
        "out",
        "absolute",
        "inner",
        "out through another",
        "to a link",
    ],
)
def test_where_a_link_leads(links: Dict[str, str], expected: bool) -> None:
    assert leaves("a/link", links["a/link"], links) is expected


def test_a_loop_leads_nowhere() -> None:
    links = {"a": "b/inner", "b": "c", "c": "a"}
    assert leaves("a", links["a"], links) is False
