"""The search path of Node definitions: its order, and how entries become folders."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import pytest

from slipway.core.errors import SlipwayError
from slipway.runtime.definitions.search_path import (
    BUNDLED,
    OPTION,
    TOOLCHAIN,
    VARIABLE,
    WORKSPACE,
    Entry,
    entries,
    file_name,
)

ROOT = "/home/me/shop"
LAST = [("toolchains/node", WORKSPACE), ("node", BUNDLED)]


def path(
    variable: str = "", option: Sequence[str] = (), folder: str = "app"
) -> List[Tuple[str, str]]:
    return [(one.folder, one.origin) for one in entries(variable, option, ROOT, folder)]


def test_the_variable_comes_first_then_the_option_the_workspace_and_slipway() -> None:
    assert path("/a:/b", ["/c", "defs"]) == [
        *(("/a", VARIABLE), ("/b", VARIABLE), ("/c", OPTION), ("defs", OPTION)),
        *(("app", WORKSPACE), *LAST),
    ]
    assert path() == [("app", WORKSPACE), *LAST]


def test_a_folder_counts_where_it_is_first() -> None:
    assert path("/a:app:/a", ["app", "/a", "toolchains/node"], "toolchains/node") == [
        *(("/a", VARIABLE), ("app", VARIABLE), ("toolchains/node", OPTION), ("node", BUNDLED)),
    ]


def test_folders_of_toolchains_come_before_the_bundled_definitions_by_their_names() -> None:
    found = entries("", (), ROOT, "app", {"toolchains/b/node", "toolchains/a/node"})
    assert [(one.folder, one.origin) for one in found] == [
        *(("app", WORKSPACE), ("toolchains/node", WORKSPACE)),
        *(("toolchains/a/node", TOOLCHAIN), ("toolchains/b/node", TOOLCHAIN), ("node", BUNDLED)),
    ]


def test_a_folder_named_node_is_not_the_bundled_folder() -> None:
    assert path(option=["node"]) == [("node", OPTION), ("app", WORKSPACE), *LAST]
    assert path(folder="node") == [("node", WORKSPACE), *LAST]


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("defs", "defs"),
        ("./defs/", "defs"),
        ("x/../defs", "defs"),
        ("/home/me/shop/defs", "defs"),
        (".", ""),
        ("/home/me/shop/", ""),
        ("../defs", "/home/me/defs"),
        ("/home/me/shopping", "/home/me/shopping"),  # begins with the build root's name
        ("/home/me", "/home/me"),
        ("~/defs", "/home/elsewhere/defs"),
        ("a b/ü", "a b/ü"),
    ],
)
def test_an_entry_is_relative_to_the_build_root_or_absolute(
    text: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/elsewhere")
    assert path(text)[0] == (folder, VARIABLE)
    assert path(option=[text])[0] == (folder, OPTION)


@pytest.mark.parametrize("variable", ["/a::/b", ":/a:/b", "/a:/b:"])
def test_an_empty_entry_is_not_the_current_folder(variable: str) -> None:
    assert path(variable)[:3] == [("/a", VARIABLE), ("/b", VARIABLE), ("app", WORKSPACE)]


@pytest.mark.parametrize("text", ["/a\0b", "/a\nb", "/a\x1b[2J", "/a\u202eb"])
def test_an_entry_with_a_control_character_is_refused(text: str) -> None:
    for arguments, origin in (((f"/a:{text}", ()), VARIABLE), (("", (text,)), OPTION)):
        with pytest.raises(SlipwayError) as caught:
            entries(*arguments, ROOT, "app")
        assert caught.value.what == (
            "an entry of the search path for Node definitions is not the name of a folder"
        )
        assert (caught.value.where, caught.value.found) == (origin, repr(text))
        assert str(caught.value).isascii()
        assert "\x1b" not in str(caught.value)


def test_how_a_file_of_an_entry_is_shown() -> None:
    assert Entry("/a", VARIABLE).shown("6.3.0.toml") == "/a/6.3.0.toml"
    assert Entry("", WORKSPACE).shown("6.3.0.toml") == "6.3.0.toml"
    assert Entry("node", BUNDLED).shown("6.3.0.toml") == "slipway:node/6.3.0.toml"
    assert Entry("node", WORKSPACE).shown("6.3.0.toml") == "node/6.3.0.toml"


def test_only_folders_that_the_user_names_must_exist() -> None:
    assert [one.is_named for one in entries("/a", ["b"], ROOT, "app")] == [
        *(True, True, False, False, False),
    ]
    assert [one.is_outside for one in entries("/a", ["b"], ROOT, "app")] == [
        *(True, False, False, False, False),
    ]


@pytest.mark.parametrize("version", ["22.23.3", "8.1.4-rc.1", "2020-01-19", "iojs-1.0.0"])
def test_a_version_names_its_file(version: str) -> None:
    assert file_name(version, "x") == f"{version}.toml"


@pytest.mark.parametrize(
    "version", ["", "../../etc/passwd", "/etc/passwd", "a/b", ".hidden", "22\n", "22\0", "*", "²²"]
)
def test_a_name_with_path_tricks_is_not_a_version(version: str) -> None:
    with pytest.raises(SlipwayError, match="is not a version of Node") as caught:
        file_name(version, "app:node, field version")
    assert caught.value.where == "app:node, field version"
