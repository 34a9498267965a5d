"""The bundled Node definitions: each is valid, complete, and consistent with its release line."""

from __future__ import annotations

import re
from typing import Dict, Set

import pytest

from slipway.core.toml_text import read_toml
from slipway.data import bundled
from slipway.runtime.definitions import needs
from slipway.runtime.definitions.definition import NodeDefinition, read
from slipway.runtime.definitions.lines import NODE_PROJECT, bundled_lines, order
from slipway.runtime.definitions.render import render
from tests.places import REPOSITORY

NAMES = [name for name in bundled.names("node") if name.endswith(".toml")]
PLATFORM = "linux-x64"


def content(name: str) -> bytes:
    data = bundled.read(f"node/{name}")
    assert data is not None
    return data


def definition(name: str) -> NodeDefinition:
    path = f"slipway:node/{name}"
    return read(read_toml(content(name), path, "definition"), path, name[: -len(".toml")])


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_definition_says_where_it_comes_from_and_what_it_needs(name: str) -> None:
    found = definition(name)
    line = bundled_lines().of(found.version)
    assert line is not None
    node = found.binary(PLATFORM)
    assert node.place in ("package", "wheel")
    assert (node.built_by == NODE_PROJECT) is (node.place == "package")
    assert node.hash_from
    assert node.hash_date
    assert needs.floor(node.needs).startswith("GLIBC_2.")
    assert "libc.so.6" in node.needs
    # Its npm is of the major version that the line brings, or older.
    assert all(order(version)[0][0] <= line.npm for version, _ in found.npms)
    assert found.npm_default == max((version for version, _ in found.npms), key=order)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_definition_is_as_the_goal_writes_it(name: str) -> None:
    found = definition(name)
    text = content(name).decode()
    head = f"# Node.js {found.version}; written by: "
    command = text.split("\n", 1)[0][len(head) :]
    assert command.startswith(f"./pants node-definitions --add={found.version}")
    npms = [npm for _, npm in found.npms]
    assert render(found.version, dict(found.binaries), npms, command) == text


def test_each_long_term_line_since_16_has_its_newest_security_release() -> None:
    table = bundled_lines()
    newest: Dict[int, str] = {}
    for name in sorted(NAMES, key=lambda one: order(one[: -len(".toml")])):
        found = definition(name)
        if found.binary(PLATFORM).built_by == NODE_PROJECT:
            newest[order(found.version)[0][0]] = found.version
    wanted = {number for number, line in table.by_number.items() if number >= 16 and line.lts}
    assert wanted <= set(newest)
    for version in newest.values():
        line = table.of(version)
        assert line is not None
        if line.number >= 16:
            assert line.security_after(version) == ()


def test_every_bundled_definition_has_a_target_in_this_repository() -> None:
    text = (REPOSITORY / "toolchains/node/BUILD").read_text()
    declared: Set[str] = set(re.findall(r'version="([^"]+)"', text))
    assert {name[: -len(".toml")] for name in NAMES} <= declared
