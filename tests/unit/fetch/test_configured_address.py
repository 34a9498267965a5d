"""Addresses from users, and which parts of them may be in a message."""

from __future__ import annotations

from typing import Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.fetch import configured_address

SHOWN = {
    "https://r.example/npm/": "https://r.example/npm/",
    "https://r.example:8443": "https://r.example:8443",
    "http://[::1]:4873/": "http://[::1]:4873/",
    "http://user:S3CRET@r.example/npm": "http://r.example/npm",
    "http://user:S3%23CRET@r.example": "http://r.example",
    "http://user:S3@CRET@r.example": "http://r.example",
    "https://r.example/npm?token=S3CRET#S3CRET": "https://r.example/npm",
}


@pytest.mark.parametrize("address", SHOWN)
def test_an_address_is_shown_without_login_and_query(address: str) -> None:
    assert configured_address.shown(address) == SHOWN[address]


@pytest.mark.parametrize(
    "address",
    [
        # A password with one of these characters ends the host.
        "http://user:S3CRET#x@r.example:9",
        "http://user:S3CRET/x@r.example:9",
        "http://user:S3CRET?x@r.example:9",
        # A parser takes this number for a port.
        "http://user:12345#x@r.example:9",
        "http://user:12345/x@r.example:9",
        "http://user:12345?x@r.example:9",
        "http://user:S3CRET@[r.example:9",
        "http://[S3CRET",
        "http://r.example:S3CRET/",
        "http://r.example:0/",
        "http://r..example/",
        "http://r.example/\x1b",
        "http://r.example/\udcff",
        "http:/user:S3CRET@r.example",
        "user:S3CRET@r.example",
        "S3CRET",
        "https://",
        "",
    ],
)
def test_of_what_is_no_address_no_part_is_shown(address: str) -> None:
    assert configured_address.parse(address) is None
    assert configured_address.shown(address) == ""


@given(st.text(alphabet="ab1:/?#@[]%.\x00٣ü"))
def test_any_text_can_be_asked_for(text: str) -> None:
    parts = configured_address.parse(f"http://{text}")
    assert parts is None or (parts.hostname and parts.port != 0)


@pytest.mark.parametrize(
    ("addresses", "refused"),
    [
        ({}, False),
        ({"x": "https://m.example/x", "y": "http://u:p@m.example"}, False),
        ({"x": "https://m.example/x", "y": "http://u:S3CRET#x@m.example"}, True),
    ],
)
def test_an_option_holds_nothing_but_addresses(addresses: Dict[str, str], refused: bool) -> None:
    if not refused:
        configured_address.require_all(addresses, "[install-scripts] mirrors")
        return
    with pytest.raises(SlipwayError, match='the mirror for "y" is not an address') as caught:
        configured_address.require_all(addresses, "[install-scripts] mirrors")
    assert caught.value.where == "[install-scripts] mirrors"
    assert "S3CRET" not in str(caught.value)
