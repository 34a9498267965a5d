"""The part of a lockfile that one member of npm workspaces needs."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest

from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import members
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.production import production_paths

INTEGRITY = "sha512-" + "A" * 86 + "=="


def package(version: str = "1.0.0", **fields: Any) -> Dict[str, Any]:
    return {"version": version, "integrity": INTEGRITY, **fields}


def link(target: str) -> Dict[str, Any]:
    return {"resolved": target, "link": True}


# `web` uses `lib`, which uses `util`; `admin` is another application.
PACKAGES: Dict[str, Dict[str, Any]] = {
    "": {"workspaces": ["apps/*", "libs/*"], "devDependencies": {"tsc": "1"}},
    "apps/web": {
        "name": "web",
        "version": "1.0.0",
        "dependencies": {"@acme/lib": "*", "ms": "2"},
        "devDependencies": {"jest": "1"},
    },
    "apps/admin": {"name": "admin", "version": "1.0.0", "dependencies": {"ms": "1", "koa": "1"}},
    "libs/lib": {
        "name": "@acme/lib",
        "version": "1.0.0",
        "dependencies": {"util": "*"},
        "devDependencies": {"babel": "1"},
    },
    "libs/util": {
        "name": "util",
        "version": "1.0.0",
        "optionalDependencies": {"fast": "1"},
        "peerDependencies": {"react": "1", "tsc": "1"},
        "peerDependenciesMeta": {"tsc": {"optional": True}},
    },
    "node_modules/@acme/lib": link("libs/lib"),
    "node_modules/admin": link("apps/admin"),
    "node_modules/util": link("libs/util"),
    "node_modules/web": link("apps/web"),
    "node_modules/tsc": package(dev=True),
    "node_modules/jest": package(dev=True, dependencies={"ms": "1"}),
    "node_modules/babel": package(dev=True),
    "node_modules/koa": package(dependencies={"bundling": "1"}),
    "node_modules/bundling": package(),
    "node_modules/fast": package(optional=True, dependencies={"bundling": "1"}),
    "node_modules/react": package(),
    "node_modules/ms": package("1.0.0"),
    "apps/web/node_modules/ms": package("2.0.0"),
}


def read(packages: Dict[str, Dict[str, Any]], version: int = 3) -> NpmLock:
    document = {"lockfileVersion": version, "requires": True, "packages": packages}
    return npm_lock.parse(json.dumps(document), "shop/package-lock.json")


def test_the_build_of_a_member_has_its_packages_and_the_tools_of_the_workspaces() -> None:
    lock = members.lock_of_member(read(PACKAGES), "apps/web")
    assert {one.path for one in lock.packages} == set(PACKAGES) - {
        *("", "apps/admin", "node_modules/admin", "node_modules/koa")
    }
    assert lock.member == "apps/web"
    assert set(json.loads(lock.text)["packages"]) == {"", *(one.path for one in lock.packages)}
    # The package.json files that npm reads, and no other.
    assert lock.manifests == (
        "package.json",
        *(f"{one}/package.json" for one in ("apps/web", "libs/lib", "libs/util")),
    )


def test_a_release_has_what_the_member_and_its_members_need_in_production() -> None:
    lock = members.lock_of_member(read(PACKAGES), "apps/web")
    assert production_paths(lock, npm_major=8) == {
        *("apps/web", "node_modules/web", "apps/web/node_modules/ms"),
        *("node_modules/@acme/lib", "libs/lib", "node_modules/util", "libs/util"),
        *("node_modules/fast", "node_modules/react", "node_modules/bundling"),
    }


def test_a_dev_dependency_that_another_member_runs_stays_one() -> None:
    packages = {**PACKAGES, "node_modules/jest": package(dependencies={"ms": "1"})}
    packages["apps/admin"] = {**packages["apps/admin"], "dependencies": {"jest": "1"}}
    web = members.lock_of_member(read(packages), "apps/web")
    admin = members.lock_of_member(read(packages), "apps/admin")
    assert "node_modules/jest" not in production_paths(web, npm_major=8)
    assert {"node_modules/jest", "node_modules/ms"} <= production_paths(admin, npm_major=8)


def test_a_change_of_another_member_changes_nothing() -> None:
    before = members.lock_of_member(read(PACKAGES), "apps/web")
    after = {**PACKAGES, "node_modules/koa": package("1.0.1", dependencies={"new": "1"})}
    after["node_modules/new"] = package()
    assert members.lock_of_member(read(after), "apps/web") == before
    assert members.lock_of_member(read(PACKAGES), "apps/admin") != before


def test_bundled_packages_come_with_the_package_that_bundles_them() -> None:
    inner = "node_modules/ms/node_modules/inner"
    packages = {**PACKAGES, inner: {"version": "1.0.0", "inBundle": True}}
    packages[f"{inner}/node_modules/deeper"] = {"version": "1.0.0", "inBundle": True}
    lock = members.lock_of_member(read(packages), "apps/admin")
    assert {inner, f"{inner}/node_modules/deeper"} <= production_paths(lock, npm_major=8)


def test_members_that_use_each_other() -> None:
    packages = {**PACKAGES}
    packages["libs/util"] = {**packages["libs/util"], "dependencies": {"@acme/lib": "*"}}
    lock = members.lock_of_member(read(packages), "apps/web")
    assert {"libs/lib", "libs/util"} <= production_paths(lock, npm_major=8)


def test_the_table_for_npm_6_is_left_out() -> None:
    document = {"lockfileVersion": 2, "packages": PACKAGES, "dependencies": {"ms": {}}}
    lock = npm_lock.parse(json.dumps(document), "shop/package-lock.json")
    assert "dependencies" not in json.loads(members.lock_of_member(lock, "apps/web").text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps({"packages": PACKAGES}), ("apps/admin", "apps/web", "libs/lib", "libs/util")),
        (json.dumps({"lockfileVersion": 1, "dependencies": {}}), ()),
        ('{"packages": [1]}', ()),
        ("[]", ()),
        ("{", ()),
    ],
    ids=["workspaces", "version 1", "a list", "no object", "no JSON"],
)
def test_the_members_in_a_text_that_may_be_no_lockfile(text: str, found: Any) -> None:
    assert members.members_in(text) == found
