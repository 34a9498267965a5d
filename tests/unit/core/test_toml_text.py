"""TOML files: every fault is a message with file and line, never a traceback."""

from __future__ import annotations

import contextlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.core.toml_text import read_toml

SOUND = b'hosts = ["a", "b"]\n[health]\nurl = "/"\n'


def fault_of(content: bytes) -> SlipwayError:
    with pytest.raises(SlipwayError) as raised:
        read_toml(content, "prod.toml", "inventory")
    return raised.value


def test_a_sound_file_is_read() -> None:
    assert read_toml(SOUND, "prod.toml", "inventory") == {
        "hosts": ["a", "b"],
        "health": {"url": "/"},
    }


@pytest.mark.parametrize("before", [b"", b'path = "/srv"\n', b'a = [\n  "x",\n]\n'])
@pytest.mark.parametrize("after", [b"", SOUND.replace(b"hosts", b"others")])
def test_a_quote_that_is_not_closed_is_found_in_its_line(before: bytes, after: bytes) -> None:
    fault = fault_of(before + b'hosts = ["a, "b]\n' + after)
    line = before.count(b"\n") + 1
    assert fault.what == 'the inventory "prod.toml" is not TOML'
    assert fault.where.startswith(f"prod.toml:{line}")
    assert fault.found.endswith('hosts = ["a, "b]')
    assert fault.next == "correct the file"


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="the words of the module toml")
@pytest.mark.parametrize(
    ("content", "where", "found"),
    [
        (b"a = 1\na = 2\n", "prod.toml:2:1", "Duplicate keys!: a = 2"),
        (b"a = 1\nb =\n", "prod.toml:2:1", "Empty value is invalid: b ="),
        (b'a = 1\nb = "\xff"\n', "prod.toml:2", "not UTF-8"),
    ],
)
def test_a_fault_names_line_and_column(content: bytes, where: str, found: str) -> None:
    fault = fault_of(content)
    assert (fault.where, fault.found) == (where, found)


@given(st.binary(max_size=40) | st.text("[]{}=\"'\\#,.\n ab1", max_size=40).map(str.encode))
def test_any_content_is_a_document_or_a_message(content: bytes) -> None:
    with contextlib.suppress(SlipwayError):
        assert isinstance(read_toml(content, "prod.toml", "inventory"), dict)
