"""Packets and armor of OpenPGP: what keys have is read, and everything else is an error."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.fetch.openpgp_packets import Malformed, Packet, read_armor, read_packets

CONTENT = b"\x88\x02ab"  # a packet of an old header: tag 2, two bytes


def armored(*lines: str, kind: str = "SIGNATURE") -> bytes:
    text = [f"-----BEGIN PGP {kind}-----", *lines, f"-----END PGP {kind}-----", ""]
    return "\n".join(text).encode()


@pytest.mark.parametrize(
    ("data", "tag", "body"),
    [
        (b"\x88\x02ab", 2, b"ab"),
        (b"\x89\x00\x02ab", 2, b"ab"),
        (b"\x8a\x00\x00\x00\x02ab", 2, b"ab"),
        (b"\xc2\x02ab", 2, b"ab"),
        (b"\xc2\xc0\x00" + b"x" * 192, 2, b"x" * 192),
        (b"\xc2\xff\x00\x00\x00\x02ab", 2, b"ab"),
    ],
)
def test_a_header_of_each_form(data: bytes, tag: int, body: bytes) -> None:
    assert list(read_packets(data + b"\xcd\x00")) == [
        Packet(tag, body, data),
        Packet(13, b"", b"\xcd\x00"),
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x88\x03ab", "the packet of type 2 at byte 0 is cut off"),
        (b"\x88", "the packet of type 2 at byte 0 is cut off"),
        (b"\xc2\x02abtext", "byte 4 does not start an OpenPGP packet"),
        (b"\xc2\xe1ab", "the packet of type 2 at byte 0 has a partial length"),
        (b"\x8bab", "the packet of type 2 at byte 0 has no length"),
    ],
)
def test_a_form_that_keys_never_have(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        list(read_packets(data))


@given(st.binary())
def test_any_data_is_packets_or_malformed(data: bytes) -> None:
    try:
        packets = list(read_packets(data))
    except Malformed:
        return
    assert b"".join(packet.whole for packet in packets) == data


@given(st.binary(min_size=1), st.integers(1, 76))
def test_armor_is_read_back(content: bytes, width: int) -> None:
    encoded = base64.b64encode(content).decode()
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
    assert list(read_armor(armored("", *lines), "SIGNATURE")) == [content]


@given(st.binary())
def test_any_data_is_armor_or_malformed(data: bytes) -> None:
    for text in (
        data,
        armored() + data,
        armored("") + data,
        b"-----BEGIN PGP SIGNATURE-----\n" + data,
    ):
        try:
            list(read_armor(text, "SIGNATURE"))
        except Malformed:
            pass


ENCODED = base64.b64encode(CONTENT).decode()


@pytest.mark.parametrize(
    "text",
    [
        armored("", ENCODED),
        armored("Version: 1", "Comment: what somebody wrote", "", ENCODED),
        armored("", ENCODED, "=dwhm"),
        b"Text of a web page.\n\n" + armored("", ENCODED) + b"More text.\n",
        armored("", ENCODED).replace(b"\n", b"\r\n"),
        armored("", ENCODED[:3], ENCODED[3:] + "  "),
    ],
)
def test_what_gpg_tolerates(text: bytes) -> None:
    assert list(read_armor(text, "SIGNATURE")) == [CONTENT]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (armored("", ENCODED, kind="MESSAGE"), "has a block MESSAGE, and must have only SIGNATURE"),
        (armored("", ENCODED, "=AAAA"), "does not match its checksum"),
        (armored("", ENCODED, "=dwhm", ENCODED), "continues after its checksum"),
        (armored(ENCODED), "has an invalid header: '"),
        (armored("", "%%%%"), "is not valid base64"),
        (armored("", ENCODED[:-3]), "is not valid base64"),
        (armored("", ENCODED)[:-8], "is not valid base64|is cut off"),
        (armored("", ENCODED)[:45], "is cut off: it has no END line"),
        (armored("", ENCODED).replace(b"END PGP SIG", b"END PGP MSG"), "is not valid base64|cut"),
        (armored("", armored("", ENCODED).decode()), "is not valid base64"),
    ],
)
def test_damaged_armor(text: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        list(read_armor(text, "SIGNATURE"))
