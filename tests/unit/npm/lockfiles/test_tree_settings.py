"""A project's npm settings that change the tree reach the install, or are refused by name."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from slipway.core.errors import SlipwayErrors
from slipway.npm.lockfiles import tree_settings
from tests.unit.npm.builders import make_lock

LINKED: Dict[str, Any] = {
    "libs/own": {"version": "1.0.0"},
    "node_modules/own": {"resolved": "libs/own", "link": True},
}


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("legacy-peer-deps=true\nfund=false\n", "legacy-peer-deps=true\n"),
        ("install-strategy=nested", "install-strategy=nested\n"),
        ("optional=false", "optional=false\n"),
        ("omit=optional", "omit[]=optional\n"),
        ("omit[]=peer\nomit[]=dev\n", "omit[]=peer\n"),
        ("include[]=optional", "include[]=optional\n"),
        ("omit=dev\nproduction=true\nonly=prod\n", ""),
        ("registry=https://npm.example/\n//npm.example/:_authToken=secret\n", ""),
    ],
)
def test_the_settings_of_an_install(text: str, passed: str) -> None:
    assert tree_settings.passed(text) == passed.encode()


@pytest.mark.parametrize(("npm_major", "refused"), [(6, False), (8, False), (9, True), (11, True)])
def test_linked_packages_are_refused_with_every_npm_that_makes_them(
    npm_major: int, refused: bool
) -> None:
    text = "fund=false\ninstall-strategy=linked\n"
    if not refused:
        tree_settings.refuse(make_lock(), text, npm_major)
        return
    with pytest.raises(SlipwayErrors) as caught:
        tree_settings.refuse(make_lock(), text, npm_major)
    assert caught.value.what == '"apps/x/.npmrc" has settings of npm that Slipway does not support'
    assert caught.value.faults == (
        "apps/x/.npmrc:2: install-strategy=linked makes every package a link",
    )
    assert caught.value.next == "remove install-strategy, which gives npm's default: hoisted"


def test_copies_of_folders_are_refused() -> None:
    with pytest.raises(SlipwayErrors) as caught:
        tree_settings.refuse(make_lock(LINKED), "install-links=true", 8)
    assert caught.value.faults == (
        "apps/x/.npmrc:1: install-links=true makes a copy of libs/own without its link",
    )
    assert caught.value.next == (
        "remove install-links, then: cd apps/x && npm install --package-lock-only --ignore-scripts"
    )


@pytest.mark.parametrize(
    "text",
    [
        *("install-strategy=nested", "install-strategy=shallow", "global-style=true"),
        *("legacy-bundling=true", "install-links=true", "install-strategy=no-such"),
    ],
)
def test_settings_that_keep_the_tree_of_a_lockfile(text: str) -> None:
    tree_settings.refuse(make_lock(), text, 11)


def test_npm_links_workspaces_also_with_install_links() -> None:
    lock = make_lock(LINKED, {"workspaces": ["libs/*"]})
    tree_settings.refuse(lock, "install-links=true", 11)
