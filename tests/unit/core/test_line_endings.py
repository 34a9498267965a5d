"""Files that Slipway reads line by line name CRLF line endings instead of an invisible character."""

from __future__ import annotations

import pytest

from slipway.core.errors import SlipwayError
from slipway.core.line_endings import require_lf


def test_lf_and_a_carriage_return_inside_of_a_line_are_no_fault() -> None:
    require_lf("a\nb\n", "x.lock")
    require_lf("a\rb\n", "x.lock")


def test_crlf_is_named_with_its_first_line_and_the_way_to_lf() -> None:
    with pytest.raises(SlipwayError) as caught:
        require_lf("a\nb\r\nc\r\n", "app/npm-fetch.lock")
    assert str(caught.value) == (
        '"app/npm-fetch.lock" has CRLF line endings, and must have LF\n'
        "  in:    app/npm-fetch.lock:2\n"
        '  found: "\\r\\n" at the end of 2 lines\n'
        "  next:  if Git wrote them (core.autocrlf): git config core.autocrlf false && "
        "git rm -rq --cached . && git reset --hard\n"
        '         (commit or stash your changes before); for all clones, add the line "* -text" to '
        ".gitattributes\n"
        "         if an editor wrote them: sed -i 's/\\r$//' app/npm-fetch.lock"
    )
