"""The production subset; tests/npm holds it against npm's own production installs."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping

from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import production
from slipway.npm.lockfiles.lock import NpmLock
from tests.unit.npm.builders import entry, make_lock

LOCK = make_lock(
    {
        "node_modules/prod": entry(),
        "node_modules/dev": entry(dev=True),
        "node_modules/either": entry(devOptional=True),
        "node_modules/optional": entry(optional=True),
        "node_modules/peer": entry(peer=True),
        "node_modules/stray": entry(extraneous=True),
        "node_modules/dev/node_modules/deep": entry(dev=True),
        "packages/a": {"version": "1.0.0", "name": "a"},
        "packages/a/node_modules/tool": entry(dev=True),
        "node_modules/a": {"resolved": "packages/a", "link": True},
    },
    {"workspaces": ["packages/*"]},
)
ALWAYS = {f"node_modules/{name}" for name in ("prod", "either", "optional", "peer", "a")}


def test_what_is_not_for_development_only_stays() -> None:
    assert production.production_paths(LOCK, 6) == ALWAYS | {"packages/a"}


def test_npm_7_omits_nothing_below_workspaces() -> None:
    for npm_major in (7, 8):
        assert production.production_paths(LOCK, npm_major) == ALWAYS | {
            "packages/a",
            "packages/a/node_modules/tool",
        }


def test_a_workspace_that_only_dev_dependencies_name_stays() -> None:
    """npm links every workspace, also with --omit=dev, so it marks none as dev (npm/cli#6441)."""
    lock = make_lock(
        {
            "node_modules/left": entry(),
            "node_modules/tool": {"resolved": "libs/tool", "link": True},
            "libs/tool": {"version": "1.0.0", "dependencies": {"left": "^1.0.0"}},
        },
        {"workspaces": ["libs/*"], "devDependencies": {"tool": "*"}},
    )
    assert production.production_paths(lock, 8) == {
        "node_modules/left", "node_modules/tool", "libs/tool",
    }  # fmt: skip


def test_every_file_belongs_to_the_innermost_package() -> None:
    paths = {"node_modules/a", "node_modules/a/node_modules/@s/b"}
    assert production.owner(paths, "node_modules/a/index.js") == "node_modules/a"
    inner = "node_modules/a/node_modules/@s/b"
    assert production.owner(paths, f"{inner}/lib/x.js") == inner
    assert production.owner(paths, "node_modules/ab/index.js") is None


def _bins(npm_major: int, manifests: Mapping[str, Any], links: Dict[str, str]) -> Dict[str, str]:
    return production.production_bins(
        packages=list(manifests),
        kept=[path for path in manifests if not path.endswith("dev")],
        npm_major=npm_major,
        links=links,
        manifest_of=lambda path: manifests[path],
        is_file=lambda path: not path.endswith("missing.js"),
    )


CONTENDED = {
    "node_modules/a-dev": {"name": "a-dev", "bin": {"tool": "cli.js", "only-dev": "x.js"}},
    "node_modules/b": {"name": "b", "bin": {"tool": "bin/tool.js", "gone": "missing.js"}},
    "node_modules/c": {"name": "c", "bin": "c.js"},
}
LINKS = {
    "node_modules/.bin/tool": "../a-dev/cli.js",
    "node_modules/.bin/only-dev": "../a-dev/x.js",
    "node_modules/.bin/c": "../c/c.js",
}


def test_npm_6_gives_a_contended_name_to_the_package_that_stays() -> None:
    assert _bins(6, CONTENDED, LINKS) == {
        "node_modules/.bin/c": "../c/c.js",
        "node_modules/.bin/tool": "../b/bin/tool.js",
    }


def test_npm_7_clears_a_contended_name_away() -> None:
    held = {**LINKS, "node_modules/.bin/tool": "../b/bin/tool.js"}
    for npm_major in (7, 8):
        for links in (LINKS, held):
            assert _bins(npm_major, CONTENDED, links) == {"node_modules/.bin/c": "../c/c.js"}


def test_bins_of_nested_and_scoped_packages() -> None:
    assert production.bin_links(
        {
            "node_modules/@s/a": [("a", "cli.js")],
            "node_modules/x/node_modules/b": [("b", "bin/b")],
            "packages/none": [("n", "n.js")],
        }
    ) == {
        "node_modules/.bin/a": "../@s/a/cli.js",
        "node_modules/x/node_modules/.bin/b": "../b/bin/b",
    }


# --- Marks that contradict the dependencies.


def lock_with_wrong_marks() -> NpmLock:
    """As npm 10 wrote http-server's: `inner` is marked, and `outer` needs it in production."""
    integrity = f"sha512-{'A' * 86}=="

    def package(**fields: object) -> Dict[str, object]:
        return {"version": "1.0.0", "integrity": integrity, **fields}

    packages = {
        "": {"dependencies": {"outer": "1"}, "devDependencies": {"tool": "1"}},
        "node_modules/outer": package(
            dependencies={"inner": "1"},
            peerDependencies={"types": "1"},
            peerDependenciesMeta={"types": {"optional": True}},
        ),
        "node_modules/inner": package(dev=True, optionalDependencies={"deep": "1"}),
        "node_modules/deep": package(dev=True),
        "node_modules/tool": package(dev=True),
        "node_modules/types": package(dev=True),
    }
    text = json.dumps({"lockfileVersion": 3, "packages": packages})
    return npm_lock.parse(text, "app/package-lock.json")


def test_what_production_needs_is_released_whatever_its_mark() -> None:
    assert production.production_paths(lock_with_wrong_marks(), 8) == {
        f"node_modules/{name}" for name in ("outer", "inner", "deep")
    }


def test_wrong_marks_are_told() -> None:
    assert production.marked_as_dev_warning(lock_with_wrong_marks()) == (
        "app/package-lock.json marks packages as dev dependencies that production packages need; the "
        "release contains them: inner@1.0.0, deep@1.0.0\n"
        "next: let npm 11 or later write the lockfile: npm install --package-lock-only"
    )


def test_right_marks_are_not_told() -> None:
    assert production.marked_as_dev_warning(LOCK) == ""
