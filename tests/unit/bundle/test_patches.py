"""Which package a patch changes, by the names that patch-package and npm give it."""

from __future__ import annotations

from typing import Dict

import pytest

from slipway.bundle.patches import package_of_patch, patch_folder, patched_by_npm, way_out


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("patches/ms+2.1.3.patch", "ms"),
        ("patches/@koa+router+12.0.0.patch", "@koa/router"),
        ("patches/koa++ms+2.1.3.patch", "ms"),
        ("patches/@a+b++@c+d+1.0.0.patch", "@c/d"),
        ("patches/ms+2.1.3+001+first.patch", "ms"),
        ("patches/webpack+5.0.0.dev.patch", ""),
    ],
)
def test_the_package_of_a_patch_file(file: str, package: str) -> None:
    assert package_of_patch(file) == package


@pytest.mark.parametrize(
    ("scripts", "folder"),
    [
        ({"postinstall": "patch-package"}, "patches"),
        ({"postinstall": "npm run fix", "fix": "patch-package --error-on-fail"}, "patches"),
        ({"prepare": "husky && patch-package --patch-dir ./tools/patches"}, "tools/patches"),
        ({"prepare": "patch-package --patch-dir=fixes; x"}, "fixes"),
        ({"postinstall": "husky install"}, ""),
    ],
)
def test_the_folder_of_patches(scripts: Dict[str, str], folder: str) -> None:
    assert patch_folder(scripts) == folder


def test_patches_of_npm_name_their_packages_with_and_without_a_version() -> None:
    patches = {"ms@2.1.3": "a.patch", "@koa/router@12.0.0": "b.patch", "koa": "c.patch", "x": 1}
    assert patched_by_npm({"patchedDependencies": patches}) == {
        "a.patch": "ms",
        "b.patch": "@koa/router",
        "c.patch": "koa",
    }
    assert patched_by_npm({"patchedDependencies": ["ms"]}) == {}


def test_the_way_out_packs_the_changed_package_under_the_name_that_npm_gives_it() -> None:
    assert (
        "npm pack --ignore-scripts ./node_modules/@koa/router && npm install ./koa-router-12.0.0.tgz"
    ) in way_out("node_modules/@koa/router", "@koa/router", "12.0.0")
