"""The spec of an image, and when its lock is out of date."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest

from slipway.core.errors import SlipwayError
from slipway.toolchain.image_spec import check_lock_is_current, path_pattern, read_image_spec
from tests.unit.debian.builders import locked, make_lock, make_spec, spec_fields


def test_all_fields_are_read() -> None:
    spec = make_spec(
        cut={"dpkg": "nothing is installed"},
        leave_out={"usr/share/man": "documentation"},
        keep=["usr/share/man/man1"],
        folders={"tmp": "1777"},
        links={"bin": "usr/bin"},
        files={"etc/hosts": ["127.0.0.1 localhost", "::1 localhost"]},
        environment={"LANG": "C.UTF-8"},
    )
    assert spec.wanted == {"tool": "the tool that this is about"}
    assert spec.folders == {"tmp": 0o1777}
    assert spec.files == {"etc/hosts": "127.0.0.1 localhost\n::1 localhost\n"}


EDIT = {"find": "^#define X 1$", "replace": "#define X 0", "why": "the old host lacks X"}
SURFACE = {
    "folder": "usr/lib/link-surface",
    "links_in": "usr/lib",
    "static_instead": ["_ZSt15future_categoryv"],
    "scripts": {
        "usr/lib/libc.so": {
            "library": "lib/libc.so.6",
            "with": ["/usr/lib/libc_nonshared.a", "-lgcc"],
            "as_needed": ["lib/ld.so"],
            "rest_of": "usr/lib/libc.a",
            "rest": "usr/lib/libc_rest.a",
            "zeros": {"__libc_single_threaded": "zero means that there may be threads"},
        }
    },
}


def test_edits_and_the_link_surface_are_read() -> None:
    spec = make_spec(edits={"usr/include/x.h": [EDIT]}, link_surface=SURFACE)
    (edit,) = spec.edits
    assert (edit.path, edit.find, edit.times) == ("usr/include/x.h", "^#define X 1$", 1)
    assert spec.surface is not None
    (script,) = spec.surface.scripts
    assert script.with_files == ("/usr/lib/libc_nonshared.a", "-lgcc")
    assert (script.rest_of, script.rest) == ("usr/lib/libc.a", "usr/lib/libc_rest.a")
    assert script.zeros == ("__libc_single_threaded",)
    assert make_spec().surface is None


# What is wrong, what the message says, where it points to.
BAD: Dict[str, Any] = {
    "unknown format": ({"format": 7}, "the format 1", "$.format"),
    "misspelt field": ({"wnated": {}}, 'unknown field "wnated"', "$"),
    "no suite": ({"suite": None}, 'the field "suite"', "$"),
    "no reason": ({"wanted": {"bash": ""}}, "the reason, in words", "$.wanted.bash"),
    "no package name": ({"wanted": {"B": "x"}}, "a package name", "$.wanted.B"),
    "wanted as list": ({"wanted": ["bash"]}, "an object", "$.wanted"),
    "another machine": ({"architecture": "arm64"}, 'the architecture "amd64"', "$.architecture"),
    "absolute path": ({"links": {"/bin/sh": "dash"}}, "a path without", "$.links./bin/sh"),
    "path with dots": ({"files": {"etc/../x": []}}, "a path without", "$.files.etc/../x"),
    "path that ends": ({"folders": {"tmp/": "755"}}, "a path without", "$.folders.tmp/"),
    "odd mode": ({"folders": {"tmp": "4755"}}, 'the mode "755" or "1777"', "$.folders.tmp"),
    "two lines in one": ({"files": {"f": ["a\nb"]}}, "one line of text", "$.files.f[0]"),
    "text for lines": ({"files": {"f": "a"}}, "a list", "$.files.f"),
    "an edit without a reason": (
        {"edits": {"a.h": [{"find": "a", "replace": "b"}]}},
        'the field "why"',
        "$.edits.a.h[0]",
    ),
    "an edit by no pattern": (
        {"edits": {"a.h": [{**EDIT, "find": "("}]}},
        "a regular expression",
        "$.edits.a.h[0].find",
    ),
    "an edit that matches never": (
        {"edits": {"a.h": [{**EDIT, "times": 0}]}},
        "a number from 1",
        "$.edits.a.h[0].times",
    ),
    "a surface without a folder": (
        {"link_surface": {"links_in": "usr/lib"}},
        'the field "folder"',
        "$.link_surface",
    ),
    "half a remainder": (
        {"link_surface": {**SURFACE, "scripts": {"l.so": {"library": "l.so.1", "rest": "r.a"}}}},
        'either both "rest_of" and "rest", or neither',
        "$.link_surface.scripts.l.so",
    ),
    "zeros without a remainder": (
        {"link_surface": {**SURFACE, "scripts": {"l": {"library": "l.1", "zeros": {"x": "why"}}}}},
        '"zeros" only together with "rest"',
        "$.link_surface.scripts.l.zeros",
    ),
    "zeros of no symbol": (
        {
            "link_surface": {
                **SURFACE,
                "scripts": {
                    "l": {"library": "l.1", "rest_of": "l.a", "rest": "r.a", "zeros": {"a b": "x"}}
                },
            }
        },
        "the name of a symbol",
        "$.link_surface.scripts.l.zeros.a b",
    ),
    "an option that is none": (
        {"link_surface": {**SURFACE, "scripts": {"l.so": {"library": "l.so.1", "with": ["-z"]}}}},
        "an absolute path or -lNAME",
        "$.link_surface.scripts.l.so.with[0]",
    ),
    "wanted and cut": (
        {"cut": {"tool": "no"}},
        'has the package "tool" in both "wanted" and "cut"',
        "$.cut.tool",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fault_is_told_with_file_and_path(case: str) -> None:
    changed, text, place = BAD[case]
    with pytest.raises(SlipwayError) as caught:
        read_image_spec(json.dumps(spec_fields(**changed)), "toolchains/base/image.json")
    assert text in caught.value.what
    assert caught.value.where == f"toolchains/base/image.json: {place}"


def test_a_stale_lock_is_explained_reason_by_reason() -> None:
    spec = make_spec(wanted={"tool": "x", "bash": "x"}, cut={"dpkg": "x"}, suite="bookworm")
    lock = make_lock([locked(b"1")], wanted=["tool", "sed"])
    with pytest.raises(SlipwayError) as caught:
        check_lock_is_current(spec, lock, "packages.lock", next="renew it")
    assert caught.value.found.splitlines() == [
        '1. suite: "bookworm" in image.json, "bullseye" in the lock',
        '2. wanted: "bash" is not in the lock',
        '3. wanted: "sed" is only in the lock',
        '4. cut: "dpkg" is not in the lock',
    ]
    assert caught.value.next == "renew it"


def test_a_lock_of_the_same_wishes_is_current() -> None:
    spec = make_spec(wanted={"tool": "another reason does not change the packages"})
    check_lock_is_current(spec, make_lock([locked(b"1")]), "packages.lock", next="")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("usr/share/man", "usr/share/man", True),
        ("usr/share/man", "usr/share/man/man1/ls.1", True),
        ("usr/share/man", "usr/share/manual", False),
        ("usr/share/doc/*/*", "usr/share/doc/bash", False),
        ("usr/share/doc/*/*", "usr/share/doc/bash/README", True),
        ("usr/lib/x.*", "usr/lib/xyz", False),
        ("etc/cron.*", "etc/cron.d/job", True),
    ],
)
def test_a_star_stops_at_a_slash_and_a_match_takes_what_is_below(
    pattern: str, path: str, matches: bool
) -> None:
    assert bool(path_pattern([pattern]).fullmatch(path)) == matches
    assert not path_pattern([]).fullmatch(path)
