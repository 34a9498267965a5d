"""Control characters of untrusted text are shown as escapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.core.printable import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text\twith\nlines", "plain text\twith\nlines"),
        ("naïve 名前 🚀", "naïve 名前 🚀"),
        ("\x1b[2J\x1b[1;1Hok", r"\x1b[2J\x1b[1;1Hok"),
        ("\x1b]52;c;cm0gLXJm\x07", r"\x1b]52;c;cm0gLXJm\x07"),
        ("50 %\r100 %", r"50 %\x0d100 %"),
        ("\x9b31m", r"\x9b31m"),
        ("user\u202exe.js", r"user\u202exe.js"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("line\u2028break", r"line\u2028break"),
        ("half \udc9b", r"half \udc9b"),
        ("tag \U000e0041", r"tag \U000e0041"),
    ],
)
def test_control_characters_become_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = printable(text)
    assert not any(ord(one) < 0x20 and one not in "\n\t" for one in shown)
    assert not any(0x7F <= ord(one) < 0xA0 for one in shown)
    shown.encode()
    assert printable(shown) == shown
    assert "\n" not in one_line(text)


def test_messages_are_printable_whatever_they_quote() -> None:
    error = SlipwayError("bad \x1b[31mname", where="a\x07b", found="c\x9bd", next="e\u202ef")
    assert str(error).replace("\n", "").isprintable()
