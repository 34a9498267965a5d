"""Resolving wanted packages to all necessary packages."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.debian.control import Stanza
from slipway.debian.resolver import WantedPackages, resolve
from tests.unit.debian.builders import make_spec


def stanza(name: str, version: str = "1.0-1", **fields: str) -> Stanza:
    """`Pre_Depends` stands for Pre-Depends."""
    return {
        "Package": name,
        "Version": version,
        "Architecture": "amd64",
        "Filename": f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb",
        "Size": "10",
        "SHA256": "ab" * 32,
        **{field.replace("_", "-"): value for field, value in fields.items()},
    }


def make_wanted(**fields: Any) -> WantedPackages:
    spec = make_spec(**fields)
    return WantedPackages(spec.file, spec.suite, spec.component, spec.wanted, spec.cut)


def resolved(*stanzas: Stanza, wanted: str = "tool", **spec: Any) -> List[str]:
    spec["wanted"] = dict.fromkeys(wanted.split(), "for the test")
    return [package.name for package in resolve(make_wanted(**spec), stanzas)]


def test_dependencies_of_dependencies_come_along_sorted() -> None:
    assert resolved(
        stanza("tool", Depends="libz (>= 1), liba"),
        stanza("libz", Pre_Depends="libc6 (>= 2.14)"),
        stanza("liba", Depends="libz", Recommends="fancy", Suggests="more"),
        stanza("libc6", version="2.31-13"),
        stanza("fancy"),
    ) == ["liba", "libc6", "libz", "tool"]


def test_what_is_in_the_image_below_is_there_already() -> None:
    suite = [stanza("tool", Depends="libc6, make"), stanza("libc6", Depends="gone"), stanza("make")]
    below = resolve(make_wanted(wanted={"libc6": "x"}, cut={"gone": "x"}), suite)
    assert [one.name for one in below] == ["libc6"]
    above = resolve(make_wanted(), suite, below)
    assert [one.name for one in above] == ["make", "tool"]


@pytest.mark.parametrize("now", [stanza("libc6", version="2.32"), stanza("other")])
def test_another_version_than_that_of_the_image_below_is_told(now: Stanza) -> None:
    below = resolve(make_wanted(wanted={"libc6": "x"}), [stanza("libc6", version="2.31")])
    with pytest.raises(SlipwayError) as caught:
        resolve(make_wanted(), [stanza("tool"), now], below)
    assert 'has another version of "libc6" than the mirror' in caught.value.what
    assert caught.value.found.startswith("2.31; the mirror has ")
    assert caught.value.next == "update the lock of the image below first"


def test_circles_end() -> None:
    assert resolved(stanza("tool", Depends="b"), stanza("b", Depends="tool, b")) == ["b", "tool"]


def test_the_lock_has_what_the_archive_says() -> None:
    (package,) = resolve(make_wanted(), [stanza("tool", version="1:2.0-3")])
    assert package.version == "1:2.0-3"
    assert package.filename == "pool/main/t/tool/tool_1:2.0-3_amd64.deb"
    assert (package.size, package.sha256) == (10, "ab" * 32)


def test_of_two_versions_the_newer_is_taken() -> None:
    packages = resolve(make_wanted(), [stanza("tool", "1.10"), stanza("tool", "1.9")])
    assert [package.version for package in packages] == ["1.10"]


@pytest.mark.parametrize(
    ("depends", "chosen"),
    [
        ("gone | b | a", ["b", "tool"]),  # the first that the suite has
        ("b (>= 9) | a", ["a", "tool"]),  # the first that fits
        ("mail-server", ["postfix", "tool"]),  # the only one that provides it
        ("mail-server (>= 3)", ["postfix", "tool"]),
        ("gone | mail-server", ["postfix", "tool"]),
    ],
)
def test_alternatives_and_provided_names(depends: str, chosen: List[str]) -> None:
    assert (
        resolved(
            stanza("tool", Depends=depends),
            stanza("a"),
            stanza("b"),
            stanza("postfix", Provides="mail-server (= 3.5), other"),
        )
        == chosen
    )


@pytest.mark.parametrize(
    "depends", ["liba | libb", "liba (>= 9) | libb", "awk | liba", "liba | awk"]
)
def test_what_is_wanted_anyway_settles_alternatives(depends: str) -> None:
    assert resolved(
        stanza("tool", Depends=depends),
        stanza("liba"),
        stanza("libb"),
        stanza("mawk", Provides="awk"),
        wanted="libb mawk tool",
    ) == ["libb", "mawk", "tool"]


def test_a_cut_package_and_what_it_alone_needs_stay_away() -> None:
    assert resolved(
        stanza("tool", Depends="dpkg (>= 1.19), debconf (>= 0.5) | debconf-2.0"),
        stanza("dpkg", Depends="libbig"),
        stanza("libbig"),
        stanza("debconf"),
        stanza("cdebconf", Provides="debconf-2.0"),
        cut={"dpkg": "nothing is installed", "debconf": "nobody asks"},
    ) == ["tool"]


def test_a_cut_package_is_not_the_one_that_provides() -> None:
    assert resolved(
        stanza("tool", Depends="awk, gawk"),
        stanza("gawk", Provides="awk"),
        stanza("mawk", Provides="awk"),
        cut={"gawk": "large"},
    ) == ["mawk", "tool"]


BAD: Dict[str, Any] = {
    "wanted but not there": (
        [stanza("tools"), stanza("tool2")],
        {},
        'the wanted package "tool" is not in bullseye main',
        "",
        "tools",
    ),
    "needed but not there": (
        [stanza("tool", Depends="libgone (>= 2) | other")],
        {},
        '"tool" needs "libgone (>= 2) | other", which bullseye main does not have',
        "no such package",
        'add "libgone" to "cut"',
    ),
    "needed but too old": (
        [stanza("tool", Depends="libc6 (>= 2.36)"), stanza("libc6", "2.31-13+deb11u11")],
        {},
        '"tool" needs "libc6 (>= 2.36)"',
        "libc6 2.31-13+deb11u11",
        'add "libc6" to "cut"',
    ),
    "provided without a version": (
        [stanza("tool", Depends="awk (>= 2)"), stanza("mawk", Provides="awk")],
        {},
        '"tool" needs "awk (>= 2)"',
        "no such package",
        'add "awk" to "cut"',
    ),
    "provided by two": (
        [
            stanza("tool", Depends="awk"),
            stanza("mawk", Provides="awk"),
            stanza("gawk", Provides="awk"),
        ],
        {},
        '"tool" needs "awk", which several packages provide',
        "gawk, mawk",
        'add one of them to "wanted"',
    ),
    "cut for nothing": (
        [stanza("tool")],
        {"cut": {"dpkg": "x", "zsh": "x"}},
        '"image.json" cuts packages that no package of the image depends on',
        "1. dpkg\n2. zsh",
        "remove these lines",
    ),
    "unreadable relation": (
        [stanza("tool", Depends="a (~ 1)")],
        {},
        'cannot parse the dependency "a (~ 1)"',
        "a (~ 1)",
        "use another mirror",
    ),
    "list without a hash": (
        [{"Package": "tool", "Version": "1", "Architecture": "all"}],
        {},
        'the package index is incomplete for "tool"',
        "no usable Filename, SHA256, Size",
        "use another mirror",
    ),
    **{
        f"a size of {size[:5]}": (
            [stanza("tool", Size=size)],
            {},
            'the package index is incomplete for "tool"',
            "no usable Size",
            "use another mirror",
        )
        for size in ("", "-1", "1_0", "\u0661", "9" * 13, "8" * 100000)
    },
    "a version of many digits": (
        [stanza("tool", Depends=f"a (>= {'9' * 100000})"), stanza("a")],
        {},
        '"999',
        "",
        "use another mirror",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_resolved_is_told_with_the_way_out(case: str) -> None:
    stanzas, spec, what, found, way_out = BAD[case]
    with pytest.raises(SlipwayError) as caught:
        resolved(*stanzas, **spec)
    assert what in caught.value.what
    assert found in caught.value.found
    assert way_out in caught.value.next


NAMES = st.sampled_from(["aa", "bb", "cc", "dd", "ee"])


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3), min_size=1), st.randoms())
def test_the_result_is_closed_and_independent_of_the_archives_order(
    depends: Dict[str, List[str]], random: Any
) -> None:
    known = {name: [d for d in needs if d in depends] for name, needs in depends.items()}
    stanzas = [stanza(name, Depends=", ".join(needs)) for name, needs in known.items()]
    first = resolved(*stanzas, wanted=min(known))
    assert all(need in first for name in first for need in known[name])
    random.shuffle(stanzas)
    assert resolved(*stanzas, wanted=min(known)) == first
