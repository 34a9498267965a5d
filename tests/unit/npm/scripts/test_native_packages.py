"""Packages whose install scripts run: which, with what around them, and what stays."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from slipway.npm.scripts import native_packages


def test_a_closure_follows_the_nearest_folder() -> None:
    manifests: Dict[str, Dict[str, Any]] = {
        "node_modules/a": {"dependencies": {"b": "1"}, "optionalDependencies": {"gone": "1"}},
        "node_modules/a/node_modules/b": {"peerDependencies": {"c": "1"}},
        "node_modules/b": {"dependencies": {"d": "1"}},
        "node_modules/c": {"dependencies": {"a": "1"}},
        "node_modules/d": {},
    }
    assert native_packages.closure("node_modules/a", manifests) == {
        *("node_modules/a", "node_modules/a/node_modules/b", "node_modules/c"),
    }


def test_a_scoped_package_s_own_folder_comes_first() -> None:
    inner = "node_modules/@a/b/node_modules/@c/d"
    manifests: Dict[str, Dict[str, Any]] = {
        "node_modules/@a/b": {"dependencies": {"@c/d": "1"}},
        inner: {"dependencies": {"e": "1"}},
        "node_modules/@c/d": {},
        "node_modules/e": {},
    }
    closure = native_packages.closure("node_modules/@a/b", manifests)
    assert closure == {"node_modules/@a/b", inner, "node_modules/e"}


@pytest.mark.parametrize(
    ("manifest", "gyp", "scripts"),
    [
        ({"scripts": {"install": "x", "postinstall": "y", "test": "z"}}, True, 2),
        ({"scripts": {"test": "z"}}, True, 1),
        ({"scripts": {"test": "z"}}, False, 0),
        ({"scripts": ["install"]}, False, 0),
    ],
)
def test_install_scripts_are_those_that_npm_runs(
    manifest: Dict[str, object], gyp: bool, scripts: int
) -> None:
    assert len(native_packages.install_scripts(manifest, gyp)) == scripts


@pytest.mark.parametrize(
    ("file", "left"),
    [
        ("build/Release/addon.node", False),
        ("lib/binding/napi-v3/addon.node", False),
        ("build/Makefile", True),
        ("build/config.gypi", True),
        ("build-tmp-napi-v3/Release/obj.target/addon/a.o", True),
        ("build/Release/.deps/Release/addon.node.d", True),
        ("build/Release/obj.target/addon.node", True),
        ("build/node_gyp_bins/python3", True),
        ("node-addon-api/nothing.target.mk", True),
        ("index.js", False),
    ],
)
def test_by_products_of_the_compilation_are_removed(file: str, left: bool) -> None:
    assert native_packages.is_by_product(file) is left


def test_layers_are_named_after_their_place() -> None:
    assert native_packages.layer_name("node_modules/bcrypt") == "addon-bcrypt"
    nested = "node_modules/@a/b/node_modules/nan"
    assert native_packages.layer_name(nested) == "addon-@a+b+nan"
