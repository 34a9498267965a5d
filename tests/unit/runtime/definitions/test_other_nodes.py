"""Advice for a Node that is too new for the hosts of a toolchain."""

from __future__ import annotations

from typing import Optional, Tuple

from slipway.runtime.definitions.listing import Row
from slipway.runtime.definitions.other_nodes import advice, newest_for

OLD, NEW = "//toolchains/gcc48", "//toolchains/debian12"


def row(version: str, *toolchains: str, known: bool = True) -> Row:
    fitting: Optional[Tuple[str, ...]] = toolchains if known else None
    return Row(version, "wheel", "", "", fitting, "", False, "", (), f"n/{version}.toml")


ROWS = [
    row("16.20.2", OLD, NEW),
    row("9.0.0", OLD),
    row("22.23.3", NEW),
    row("24.0.0", known=False),
]


def test_a_newer_toolchain_and_an_older_node() -> None:
    assert advice("22.23.3", OLD, ROWS, []) == (
        "if all hosts are newer, name a toolchain with their policy in the bundle: "
        'toolchain="//toolchains/debian12"\n'
        'or use the newest Node for these hosts: runtime="//toolchains/node:16.20.2"\n'
        '  with, in a BUILD file: node_runtime(name="16.20.2", version="16.20.2")'
    )


def test_a_declared_runtime_needs_no_new_target() -> None:
    assert advice("22.23.3", OLD, ROWS, ["//node:old", "//node:older"]).splitlines()[1:] == [
        'or use the newest Node for these hosts: runtime="//node:old"'
    ]


def test_without_a_toolchain_for_it_only_the_older_node_is_left() -> None:
    assert advice("24.0.0", OLD, ROWS, ["//node:old"]) == (
        'use the newest Node for these hosts: runtime="//node:old"'
    )


def test_its_toolchain_is_not_another_toolchain() -> None:
    assert advice("9.0.0", OLD, [row("9.0.0", OLD)], ["//node:nine"]) == (
        'use the newest Node for these hosts: runtime="//node:nine"'
    )


def test_without_any_fitting_node_only_the_newer_toolchain_is_left() -> None:
    assert advice("22.23.3", OLD, [row("22.23.3", NEW)], []) == (
        "if all hosts are newer, name a toolchain with their policy in the bundle: "
        'toolchain="//toolchains/debian12"'
    )
    assert advice("22.23.3", OLD, [row("22.23.3")], []) == ""
    assert advice("22.23.3", OLD, [], []) == ""


def test_the_newest_fitting_definition_is_newest_by_its_numbers() -> None:
    newest = newest_for(OLD, ROWS)
    assert newest is not None
    assert newest.version == "16.20.2"
    assert newest_for("//toolchains/other", ROWS) is None
    assert newest_for(OLD, [row("24.0.0", known=False)]) is None
