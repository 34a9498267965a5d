"""A lockfile from another system that lacks the binaries for a release is reported."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterable, Optional

import pytest

from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import platform_gaps
from tests.unit.npm.builders import entry, lock_text, lock_text_v1, make_lock

NAMES = [
    *("@r/r-darwin-arm64", "@r/r-darwin-x64", "@r/r-win32-x64-msvc", "@r/r-linux-arm64-gnu"),
    *("@r/r-linux-x64-gnu", "@r/r-linux-x64-musl"),
]


def _entry(name: str) -> Dict[str, Any]:
    _, system, cpu = name.rsplit("/", maxsplit=1)[-1].split("-")[:3]
    return entry(name=name, optional=True, os=[system], cpu=[cpu])


def _packages(present: Iterable[str], names: Iterable[str] = NAMES) -> Dict[str, Any]:
    """The package `r` with these optional dependencies, and an entry for those `present`."""
    return {
        **{f"node_modules/{name}": _entry(name) for name in present},
        "node_modules/r": entry(
            name="r", optionalDependencies=dict.fromkeys((*names, "fsevents"), "1.0.0")
        ),
        "node_modules/fsevents": entry(name="fsevents", optional=True, os=["darwin"]),
    }


def _warning(present: Iterable[str], names: Iterable[str] = NAMES) -> Optional[str]:
    return platform_gaps.warning(make_lock(_packages(present, names)))


def test_the_message_names_the_packages_and_the_command() -> None:
    assert _warning(["@r/r-darwin-arm64"]) == (
        "apps/x/package-lock.json has binaries of these packages for other systems, but not for "
        "linux-x64:\n"
        "r@1.0.0: has @r/r-darwin-arm64, fsevents, lacks @r/r-linux-x64-gnu\n"
        "to add them with npm 11 or later: "
        "cd apps/x && npm install --package-lock-only --ignore-scripts\n"
        'with an earlier npm, first remove from apps/x/package-lock.json: "node_modules/r"'
    )


@pytest.mark.parametrize(
    ("present", "names"),
    [
        (["@r/r-darwin-arm64"], ["@r/r-darwin-arm64", "@r/r-linux-x64"]),
        (["@r/r-darwin-arm64", "@r/r-win32-x64-msvc"], NAMES),
        (["@r/r-linux-x64-musl"], NAMES),
        (["@r/r-darwin-64"], ["@r/r-darwin-64", "@r/r-linux-64", "@r/r-windows-64"]),
    ],
    ids=["two systems", "made on two machines", "made on Alpine", "names with 64"],
)
def test_a_gap(present: Iterable[str], names: Iterable[str]) -> None:
    assert _warning(present, names)


@pytest.mark.parametrize(
    ("present", "names"),
    [
        (NAMES, NAMES),
        (["@r/r-linux-x64-gnu"], NAMES),
        (["@r/r-darwin-arm64"], ["@r/r-darwin-arm64", "@r/r-darwin-x64"]),
        (["@r/r-darwin-arm64", "@r/r-win32-x64-msvc"], [*NAMES[:1], *NAMES[2:3], *NAMES[4:]]),
        (["@r/r-darwin-arm64"], ["@r/r-darwin-arm64", "@r/r-linux-x64-musl", "bufferutil"]),
    ],
    ids=[
        "whole",
        "made on Linux",
        "for darwin alone",
        "all but Linux: the registry never had it",
        "Alpine alone",
    ],
)
def test_no_gap(present: Iterable[str], names: Iterable[str]) -> None:
    assert _warning(present, names) is None


def test_a_package_for_another_system_needs_no_binaries() -> None:
    packages = _packages(["@r/r-darwin-arm64"])
    packages["node_modules/r"]["os"] = ["darwin"]
    assert platform_gaps.find(make_lock(packages)) == []


def test_a_binary_that_the_application_names_closes_the_gap() -> None:
    packages = _packages(["@r/r-darwin-arm64", "@r/r-linux-x64-gnu"])
    assert platform_gaps.find(make_lock(packages)) == []


@pytest.mark.parametrize("value", [[], "x", {"@r/r-linux-x64": 1}, None])
def test_a_table_of_another_form_is_no_dependency(value: Any) -> None:
    packages = {"node_modules/r": {**entry(name="r"), "optionalDependencies": value}}
    assert platform_gaps.find(make_lock(packages)) == []


def test_version_1_locks_do_not_list_optional_dependencies() -> None:
    lock = npm_lock.parse(lock_text_v1({"left": entry()}), "package-lock.json")
    assert platform_gaps.warning(lock) is None


def test_a_version_2_lock() -> None:
    document = json.loads(lock_text(_packages(["@r/r-darwin-arm64"]), version=2))
    lock = npm_lock.parse(json.dumps(document), "package-lock.json")
    assert len(platform_gaps.find(lock)) == 1
