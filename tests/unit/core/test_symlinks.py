"""Symlinks that Pants cannot read are found before Pants looks, each with its reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Sequence

import pytest

from slipway.core.symlinks import bad_links, explained


def found(root: Path, globs: Sequence[str] = ("app/service/**",), *excluded: str) -> List[str]:
    return [str(link) for link in bad_links(str(root), "app", globs, excluded)]


def make(root: Path, links: Dict[str, str]) -> None:
    for path in ("app/service/real", "app/docs", "shared"):
        (root / path).mkdir(parents=True, exist_ok=True)
        (root / path / "x.js").touch()
    for path, target in links.items():
        os.symlink(target, root / path)


@pytest.mark.parametrize(
    ("links", "reasons"),
    [
        ({"app/service/a": "/etc/passwd"}, ["the target is absolute"]),
        ({"app/service/a": "gone.js"}, ["the target does not exist"]),
        ({"app/service/a": "."}, ["the symlink leads to a folder that contains it"]),
        (
            {"app/service/real/a": "../../service"},
            ["the symlink leads to a folder that contains it"],
        ),
        ({"app/service/a": "b", "app/service/b": "a"}, ["the symlink leads to itself"] * 2),
        ({"app/service/a": "../" * 20 + "etc/passwd"}, ["the target is outside the workspace"]),
        ({"app/service/a": "../" * 20 + "nosuch"}, ["the target is outside the workspace"]),
    ],
)
def test_a_symlink_that_pants_cannot_read(
    links: Dict[str, str], reasons: List[str], tmp_path: Path
) -> None:
    make(tmp_path, links)
    paths = list(links)
    assert found(tmp_path) == [
        f'"{path}" -> "{links[path]}": {reason}' for path, reason in zip(paths, reasons)
    ]


def test_sound_symlinks_of_files_and_folders(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "app/service/file.js": "real/x.js",
            "app/service/folder": "real",
            "app/service/outside": "../../shared",
            "app/service/again": "folder",
        },
    )
    assert found(tmp_path) == []


def test_a_bad_symlink_behind_a_sound_one(tmp_path: Path) -> None:
    make(tmp_path, {"app/service/outside": "../../shared", "shared/a": "a"})
    assert found(tmp_path) == ['"app/service/outside/a" -> "a": the symlink leads to itself']


def test_only_what_the_globs_reach_counts(tmp_path: Path) -> None:
    make(
        tmp_path,
        {"app/docs/a": "/etc", "app/service/old.js": "/etc", "app/service/.#x.js": "me@host"},
    )
    (tmp_path / "app/service/node_modules").mkdir()
    os.symlink("/etc", tmp_path / "app/service/node_modules/a")
    assert len(found(tmp_path)) == 1
    assert found(tmp_path, ["app/*.js", "app/service/real/**"]) == []
    for excluded in ("app/service/old.js", "app/**/old.js", "app/service/*.js", "app/service/**"):
        assert found(tmp_path, ["app/service/**"], excluded) == []


# --- The messages of Pants' engine.


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            'BUILD:27: Invalid: Failed to read link "{root}/app/a": Absolute symlink: "/etc"',
            "the target is absolute",
        ),
        (
            'While expanding link "app/a": Globs may not traverse outside of the buildroot: "x"',
            "the target is outside the workspace",
        ),
        (
            'Maximum link depth exceeded at Link {{ path: "app/a", target: "." }} for "app/a/a"',
            "the symlink leads to itself",
        ),
    ],
)
def test_a_message_of_the_engine_names_the_way_on(text: str, reason: str, tmp_path: Path) -> None:
    make(tmp_path, {"app/a": "somewhere"})
    assert str(explained(text.format(root=tmp_path), str(tmp_path))) == (
        "Pants cannot read a symlink of the workspace\n"
        "  in:    app/a\n"
        f'  found: "app/a" -> "somewhere": {reason}\n'
        "  next:  remove the symlink, give it a relative target in the workspace, or hide it from "
        "Pants; in pants.toml:\n"
        "         [GLOBAL]\n"
        '         pants_ignore.add = ["/app/a"]'
    )


def test_other_messages_are_left_alone(tmp_path: Path) -> None:
    assert explained("Unmatched glob from app:bundle", str(tmp_path)) is None
