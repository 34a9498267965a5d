"""The installed tree: what is kept of it, what belongs to production, what each package weighs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict

import pytest

from slipway.npm.install_report import InstalledPackage
from slipway.npm.installed_tree import InstalledTree, LockedPackage

PACKAGES = {
    "node_modules/koa": LockedPackage("koa", "2.0.0"),
    "node_modules/koa/node_modules/ms": LockedPackage("ms", "1.0.0"),
    "node_modules/@scope/tool": LockedPackage("@scope/tool", "3.0.0"),
    "node_modules/webpack": LockedPackage("webpack", "5.0.0"),
    "node_modules/absent": LockedPackage("absent", "1.0.0"),
}
PRODUCTION = frozenset(PACKAGES) - {"node_modules/webpack"}


def make_tree(top: Path, **manifests: Any) -> InstalledTree:
    """Packages with a package.json and one file of 10 bytes; `absent` is for another system."""
    for path, facts in PACKAGES.items():
        if path.endswith("absent"):
            continue
        folder = top / path
        folder.mkdir(parents=True, exist_ok=True)
        more = manifests.get(facts.name.replace("@scope/", ""), {})
        manifest = {"name": facts.name, "version": facts.version, **more}
        (folder / "package.json").write_text(json.dumps(manifest))
        (folder / "cli.js").write_bytes(b"x" * 10)
    (top / "package.json").write_text("{}")
    (top / "service").mkdir()
    (top / "service" / "app.js").write_text("")
    return InstalledTree(str(top), PACKAGES)


def link(top: Path, name: str, target: str) -> None:
    path = top / "node_modules" / ".bin" / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)


def names(entries: Any) -> Dict[str, str]:
    return {entry.name: entry.target for entry in entries}


def test_only_what_npm_installed_is_in_the_tree(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tmp_path / "node_modules" / ".package-lock.json").write_text("{}")
    (tmp_path / "node_modules" / ".cache").mkdir()
    (tmp_path / "node_modules" / ".cache" / "babel").write_text("")
    (tmp_path / "packages" / "a" / "node_modules" / "own").mkdir(parents=True)
    (tmp_path / "packages" / "a" / "node_modules" / "own" / "index.js").write_text("")
    (tmp_path / "packages" / "a" / "index.js").write_text("")
    found = names(tree.entries())
    assert "node_modules/koa/cli.js" in found
    assert "packages/a/node_modules/own/index.js" in found
    left_out = ("package.json", "service/app.js", "packages/a/index.js", "node_modules/koa")
    assert not set(left_out) & set(found)
    assert not [name for name in found if ".package-lock.json" in name or ".cache" in name]


def test_a_cache_inside_of_a_package_belongs_to_it(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tmp_path / "node_modules" / "koa" / ".cache").mkdir()
    (tmp_path / "node_modules" / "koa" / ".cache" / "kept").write_text("")
    assert "node_modules/koa/.cache/kept" in names(tree.entries())


def test_production_leaves_out_dev_packages_and_their_programs(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, tool={"bin": {"tool": "cli.js"}}, webpack={"bin": "cli.js"})
    link(tmp_path, "tool", "../@scope/tool/cli.js")
    link(tmp_path, "webpack", "../webpack/cli.js")
    kept = names(tree.production(tree.entries(), PRODUCTION, 8))
    assert set(kept) == {
        *("node_modules/koa/cli.js", "node_modules/koa/package.json"),
        *(
            "node_modules/koa/node_modules/ms/cli.js",
            "node_modules/koa/node_modules/ms/package.json",
        ),
        *("node_modules/@scope/tool/cli.js", "node_modules/@scope/tool/package.json"),
        "node_modules/.bin/tool",
    }
    assert kept["node_modules/.bin/tool"] == "../@scope/tool/cli.js"


def test_a_program_whose_name_a_dev_package_won_goes_where_npm_lets_it(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, koa={"bin": {"run": "cli.js"}}, webpack={"bin": {"run": "cli.js"}})
    link(tmp_path, "run", "../webpack/cli.js")
    by_npm_6 = names(tree.production(tree.entries(), PRODUCTION, 6))
    assert by_npm_6["node_modules/.bin/run"] == "../koa/cli.js"
    assert "node_modules/.bin/run" not in names(tree.production(tree.entries(), PRODUCTION, 8))


@pytest.mark.parametrize("npm_major", [6, 8])
def test_a_program_that_is_not_in_its_package_gets_no_link(tmp_path: Path, npm_major: int) -> None:
    tree = make_tree(tmp_path, koa={"bin": {"run": "gone.js"}}, webpack={"bin": {"run": "cli.js"}})
    link(tmp_path, "run", "../webpack/cli.js")
    kept = names(tree.production(tree.entries(), PRODUCTION, npm_major))
    assert "node_modules/.bin/run" not in kept


def test_a_file_that_a_package_keeps_among_its_own_programs_stays(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    own = tmp_path / "node_modules/koa/node_modules/.bin/kept"
    own.parent.mkdir()
    own.write_text("")
    kept = names(tree.production(tree.entries(), PRODUCTION, 8))
    assert "node_modules/koa/node_modules/.bin/kept" in kept


def test_each_package_has_its_own_size(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    sizes = {package.path: package for package in tree.sizes(tree.entries())}
    assert "node_modules/absent" not in sizes
    for path, facts in PACKAGES.items():
        if path in sizes:
            manifest = os.path.getsize(tmp_path / path / "package.json")
            assert sizes[path] == InstalledPackage(
                path, facts.name, str(facts.version), manifest + 10
            )


def test_a_package_that_is_not_here_or_damaged_has_no_manifest(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tmp_path / "node_modules" / "koa" / "package.json").write_text("{")
    (tmp_path / "node_modules" / "webpack" / "package.json").write_text("[]")
    assert list(tree.manifests()) == [
        *("node_modules/@scope/tool", "node_modules/koa/node_modules/ms")
    ]


def test_commands_without_a_link_are_listed_with_their_files(tmp_path: Path) -> None:
    bins = {"koa": "cli.js", "./linked": "cli.js", "gone": "gone.js"}
    tree = make_tree(tmp_path, koa={"bin": bins}, tool={"bin": "./cli.js"}, webpack={"bin": []})
    link(tmp_path, "linked", "../koa/cli.js")
    assert tree.unlinked_bins() == {
        "node_modules/@scope/tool": {"tool": "cli.js"},
        "node_modules/koa": {"koa": "cli.js"},
    }
