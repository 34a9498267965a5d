"""Definitions of node-build as Node definitions, and what becomes of a whole folder."""

from __future__ import annotations

from slipway.core.toml_text import read_toml
from slipway.runtime.definitions.definition import NodeDefinition, read
from slipway.runtime.definitions.node_build_import import Imported, import_all, report

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
EOL = 'before_install_package() {\n  build_package_warn_eol "$1"\n}\n\n'


def node(version: str, *platforms: str) -> bytes:
    """A definition of a Node release with binaries for these platforms, and its source."""
    base = f"https://dist.example/v{version}/node-v{version}"
    lines = [f'binary {one} "{base}-{one}.tar.gz#{A}"' for one in platforms]
    source = f'install_package "node-v{version}" "{base}.tar.gz#{B}"'
    return "\n".join([*lines, "", source, ""]).encode()


TEXTS = {
    "16.20.2": EOL.encode() + node("16.20.2", "linux-x64", "darwin-arm64"),
    "8.0.0": node("8.0.0", "darwin-x64"),
    "18.0.0": node("18.0.0"),
    "iojs-1.0.0": node("1.0.0", "linux-x64").replace(b"node-v1.0.0", b"iojs-v1.0.0"),
    "graal+ce-19.2.0": (
        f'binary linux-x64 "https://dist.example/graal.tar.gz#{C}"\n\n'
        'install_package "graal+ce-19.2.0" "#" graal\n'
    ).encode(),
    "20.x-dev": b'install_git "node-v20.x" "https://git.example/node.git" "v20.x" standard\n',
    "12.0.0": node("12.0.0", "linux-x64")
    .replace(A.encode(), b"d" * 32)
    .replace(B.encode(), b"e" * 40),
    "hostile": b"$(touch canary)\n",
}


def imported() -> Imported:
    return import_all(TEXTS, "a command", "2026-11-27")


def definition(name: str, version: str) -> NodeDefinition:
    path = f"vendor/{name}.toml"
    return read(read_toml(imported().files[f"{name}.toml"].encode(), path, "x"), path, version)


def test_a_binary_for_linux_is_taken_with_those_for_other_platforms() -> None:
    found = definition("16.20.2", "16.20.2")
    assert [platform for platform, _ in found.binaries] == ["linux-x64", "darwin-arm64"]
    archive = found.binary("linux-x64")
    assert archive.url == "https://dist.example/v16.20.2/node-v16.20.2-linux-x64.tar.gz"
    assert (archive.sha256, archive.size, archive.built_by) == (A, 0, "the Node.js project")
    assert (archive.hash_from, archive.hash_date) == ("a definition of node-build", "2026-11-27")
    assert found.source is None
    assert found.npms == ()  # the archive has one


def test_a_release_without_a_binary_for_linux_is_built_from_source() -> None:
    found = definition("8.0.0", "8.0.0")
    assert found.binaries == ()
    assert found.source is not None
    assert (found.source.sha256, found.source.python) == (B, "python2.7")
    newer = definition("18.0.0", "18.0.0").source
    assert newer is not None
    assert newer.python == "python3"


def test_another_runtime_is_not_said_to_be_built_by_the_node_project() -> None:
    assert definition("iojs-1.0.0", "1.0.0").binary("linux-x64").built_by == ""
    traits = definition("iojs-1.0.0", "1.0.0").traits
    assert (traits.bin, traits.npm, traits.node) == ("bin/iojs", False, True)


def test_each_file_that_is_not_used_has_a_reason() -> None:
    assert imported().refused == {
        "12.0.0": "MD5 hash",
        "20.x-dev": "the source is a git repository",
        "graal+ce-19.2.0": "the install step graal changes the archive",
        "hostile": "the file name does not contain a runtime and a version",
    }


def test_the_report_counts_by_runtime_kind_and_reason() -> None:
    assert [line.split("  ")[0] for line in report(imported()).splitlines()][:4] == [
        "runtime",
        "iojs",
        "node",
        "node",
    ]
    text = " ".join(report(imported()).split())
    assert "iojs binary 1 node binary 1 node source 2" in text
    assert "refused: MD5 hash 1 (12.0.0)" in text
