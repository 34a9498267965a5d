"""Locks against package.json; tests/npm holds these verdicts against npm's."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional, Tuple

import pytest

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import manifest
from slipway.npm.lockfiles.lock import NpmLock
from tests.places import REPOSITORY
from tests.unit.npm.builders import entry, integrity_of, lock_text, lock_text_v1, make_lock

REWRITE = "cd apps/x && npm install --package-lock-only --ignore-scripts"


def _reasons(lock: NpmLock, *manifests: Dict[str, Any]) -> List[str]:
    texts = dict(zip(lock.manifests, (json.dumps(one) for one in manifests)))
    try:
        manifest.require_in_step(lock, texts)
    except SlipwayErrors as error:
        return list(error.faults)
    return []


def test_the_next_step_is_to_regenerate_the_lock() -> None:
    with pytest.raises(SlipwayErrors) as caught:
        manifest.require_in_step(make_lock({}), {"package.json": '{"dependencies":{"a":"1"}}'})
    assert (
        caught.value.what
        == 'the lockfile "apps/x/package-lock.json" is out of date with package.json'
    )
    assert caught.value.next == REWRITE


class TestVersion3:
    lock = make_lock(
        {
            "libs/own": {"version": "0.1.0", "name": "own", "dependencies": {"right": "^1.0.0"}},
            "node_modules/left": entry("1.5.0"),
            "node_modules/right": entry("1.1.0", "right", dev=True),
            "node_modules/own": {"resolved": "libs/own", "link": True},
            "node_modules/alias": {**entry("2.0.0", "real"), "name": "real"},
            "node_modules/packed": {**entry(), "resolved": "file:p.tgz"},
        },
        {
            "dependencies": {
                "left": "^1.0.0",
                "own": "file:libs/own",
                "alias": "npm:real@^2.0.0",
                "packed": "file:p.tgz",
            },
            "devDependencies": {"right": "^1.0.0"},
            "optionalDependencies": {},
        },
    )

    def _good(self) -> Dict[str, Any]:
        return {
            "dependencies": {
                "left": "^1.0.0",
                "own": "file:libs/own",
                "alias": "npm:real@^2.0.0",
                "packed": "file:p.tgz",
            },
            "devDependencies": {"right": "^1.0.0"},
        }

    def _check(self, root: Dict[str, Any], **of_own: str) -> List[str]:
        own = {"name": "own", "version": "0.2.0", "dependencies": {"right": "^1.0.0", **of_own}}
        return _reasons(self.lock, root, own)

    def _edited(self, _kind: str = "dependencies", **edits: Optional[str]) -> List[str]:
        root = self._good()
        for name, spec in edits.items():
            root.setdefault(_kind, {})[name] = spec
            if spec is None:
                del root[_kind][name]
        return self._check(root)

    def test_in_step(self) -> None:
        assert self._edited() == []

    def test_what_no_install_reads_may_differ(self) -> None:
        root = {**self._good(), "name": "z", "version": "9.9.9", "scripts": {"build": "x"}}
        assert self._check(root) == []

    def test_an_edited_range_that_the_locked_version_satisfies(self) -> None:
        assert self._edited(left=">=1.2 <2") == []

    def test_an_edited_range_that_it_does_not_satisfy(self) -> None:
        assert self._edited(left="^2.0.0") == [
            "package.json: dependencies: left ^2.0.0: the lockfile was made for ^1.0.0"
        ]

    def test_added(self) -> None:
        assert self._edited(new="^1.0.0") == [
            "package.json: dependencies: new ^1.0.0: missing from the lockfile"
        ]

    def test_removed(self) -> None:
        assert self._edited(left=None) == ["package.json: dependencies: left: only in the lockfile"]

    def test_moved_from_development_to_production(self) -> None:
        root = self._good()
        root["dependencies"].update(root.pop("devDependencies"))
        assert self._check(root) == [
            "package.json: dependencies: right ^1.0.0: the lockfile has it in devDependencies"
        ]

    @pytest.mark.parametrize(
        "spec", ["npm:other@^2.0.0", "npm:real@^3.0.0", "^2.0.0", "file:x.tgz", "https://x.example/y.tgz"]
    )  # fmt: skip
    def test_another_source(self, spec: str) -> None:
        assert len(self._edited(alias=spec)) == 1

    def test_another_file(self) -> None:
        assert len(self._edited(packed="file:q.tgz")) == 1
        assert self._edited(packed="file:./p.tgz") == []
        assert self._edited(own="file:./libs/own/") == []
        assert len(self._edited(own="file:libs/other")) == 1

    def test_peer_dependencies_count(self) -> None:
        assert self._edited("peerDependencies", friend="^1") == [
            "package.json: peerDependencies: friend ^1: missing from the lockfile"
        ]

    def test_a_linked_folder_has_a_package_json_too(self) -> None:
        assert self._check(self._good(), new="^1.0.0") == [
            "libs/own/package.json: dependencies: new ^1.0.0: missing from the lockfile"
        ]

    def test_a_linked_folder_s_package_json_must_exist(self) -> None:
        with pytest.raises(SlipwayErrors) as caught:
            manifest.require_in_step(self.lock, {"package.json": json.dumps(self._good())})
        assert caught.value.faults == ("apps/x/libs/own/package.json",)

    def test_all_reasons_at_once(self) -> None:
        assert len(self._edited(left="^7", new="1", packed=None)) == 3


def test_optional_dependencies_win_over_common_ones() -> None:
    lock = make_lock(
        {"node_modules/left": entry(optional=True)}, {"optionalDependencies": {"left": "^1.0.0"}}
    )
    both = {"dependencies": {"left": "^1.0.0"}, "optionalDependencies": {"left": "^1.0.0"}}
    assert _reasons(lock, both) == []


def test_workspaces_are_compared_in_both_forms() -> None:
    lock = make_lock({}, {"workspaces": ["packages/*"]})
    assert _reasons(lock, {"workspaces": {"packages": ["packages/*"]}}) == []
    assert _reasons(lock, {"workspaces": ["apps/*"]}) == [
        "package.json: workspaces ['apps/*']: the lockfile was made for ['packages/*']"
    ]


class TestVersion1:
    lock = npm_lock.parse(
        lock_text_v1({"left": entry("1.5.0"), "right": entry("1.0.0", "right", dev=True)}),
        "apps/x/package-lock.json",
    )

    def test_in_step(self) -> None:
        assert _reasons(self.lock, {"dependencies": {"left": "^1.0.0"}}) == []
        assert _reasons(self.lock, {"dependencies": {"left": "latest"}}) == []
        assert _reasons(self.lock, {"optionalDependencies": {"gone": "^1.0.0"}}) == []

    def test_missing(self) -> None:
        assert _reasons(self.lock, {"dependencies": {"new": "^1.0.0"}}) == [
            "package.json: dependencies: new ^1.0.0: missing from the lockfile"
        ]

    def test_another_version(self) -> None:
        assert _reasons(self.lock, {"devDependencies": {"left": "^2.0.0"}}) == [
            "package.json: devDependencies: left ^2.0.0: the lockfile has left@1.5.0"
        ]

    def test_moved_from_development_to_production(self) -> None:
        assert _reasons(self.lock, {"dependencies": {"right": "^1.0.0"}}) == [
            "package.json: dependencies: right: the lockfile has it only as dev dependency"
        ]


class TestNpmVersions:
    @pytest.mark.parametrize(
        ("lock_version", "npm"), [(1, "8.19.4"), (3, "6.14.18"), (1, "10.9.0")]
    )
    def test_an_npm_that_cannot_install_the_lock(self, lock_version: int, npm: str) -> None:
        text = lock_text_v1({}) if lock_version == 1 else make_lock({}).text
        lock = npm_lock.parse(text, "apps/x/package-lock.json")
        with pytest.raises(SlipwayError) as caught:
            manifest.require_npm(lock, npm)
        assert f"npm {npm} cannot" in caught.value.what
        command, setting = caught.value.next.split("\nor ")
        assert command == f"{REWRITE} --lockfile-version={3 if lock_version == 1 else 1}"
        assert "npm_version = " in setting

    def test_npm_versions_that_can_install_the_lock(self) -> None:
        manifest.require_npm(make_lock({}), "8.19.4")
        manifest.require_npm(npm_lock.parse(lock_text_v1({}), "package-lock.json"), "6.14.18")


FIXTURES = REPOSITORY / "tests" / "fixtures" / "npm"


@pytest.mark.parametrize("name", ["v2-local", "v2-mixed", "v2-peer"])
def test_the_two_tables_of_a_lock_that_npm_wrote_are_equal(name: str) -> None:
    path = FIXTURES / name / "package-lock.json"
    manifest.require_npm(npm_lock.parse(path.read_text(), "package-lock.json"), "6.14.18")


OTHER_THAN_CHECKED: Dict[str, Any] = {
    "another content": {"left": entry(integrity=integrity_of("right", "1.0.0"))},
    "another version": {"left": {**entry("2.0.0"), "integrity": integrity_of("left", "1.0.0")}},
    "another package": {"left": entry("npm:right@1.0.0", integrity=integrity_of("left", "1.0.0"))},
    "git": {"left": {"version": "git+file:///etc#1"}},
    "a folder": {"left": {"version": "file:libs/left"}},
    "a folder outside": {"left": {"version": "file:../../../etc"}},
    "an address": {"left": {"version": "https://mirror.example/left.tgz"}},
    "no integrity": {"left": {"version": "1.0.0"}},
    "bundled": {"left": {"version": "1.0.0", "bundled": True}},
    "one more": {"left": entry(), "right": entry(name="right")},
    "one more within": {"left": {**entry(), "dependencies": {"right": entry(name="right")}}},
    "one fewer": {},
    "no table": [1],
}


@pytest.mark.parametrize("what", OTHER_THAN_CHECKED)
def test_npm_6_gets_no_packages_from_another_table_than_was_checked(what: str) -> None:
    document = json.loads(lock_text(version=2))
    document["dependencies"] = OTHER_THAN_CHECKED[what]
    lock = npm_lock.parse(json.dumps(document), "apps/x/package-lock.json")
    manifest.require_npm(lock, "8.19.4")
    with pytest.raises(SlipwayErrors, match=r"the tables .* of the lockfile .* differ") as caught:
        manifest.require_npm(lock, "6.14.18")
    assert f"{REWRITE} --lockfile-version=2" in caught.value.next


def test_both_entries_count_if_a_table_has_a_place_twice() -> None:
    """Below two links to one folder npm 6 installs what each of them says."""
    links = {
        "libs/own": {"version": "1.0.0"},
        "libs/own/node_modules/left": entry(),
        **{f"node_modules/{name}": {"resolved": "libs/own", "link": True} for name in ("a", "b")},
    }
    document = json.loads(lock_text(links, version=2))
    document["dependencies"] = {
        "a": {"version": "file:libs/own", "dependencies": {"left": {"version": "git+file:///x"}}},
        "b": {"version": "file:libs/own", "dependencies": {"left": entry()}},
    }
    lock = npm_lock.parse(json.dumps(document), "apps/x/package-lock.json")
    with pytest.raises(SlipwayErrors) as caught:
        manifest.require_npm(lock, "6.14.18")
    (fault,) = caught.value.faults
    assert 'libs/own/node_modules/left: differs between "dependencies" and "packages"' in fault


class TestOverrides:
    """The lockfile does not record them, so it may be older than they are (npm/cli#4942)."""

    PATH = "node_modules/top/node_modules/left"

    def _reasons(self, overrides: Any, left: str = "1.0.0") -> Tuple[str, ...]:
        packages = {"node_modules/top": entry(name="top"), self.PATH: entry(left)}
        root = {"dependencies": {"top": "1.0.0"}}
        lock = make_lock(packages, root)
        manifests = {"package.json": json.dumps({**root, "overrides": overrides})}
        try:
            manifest.require_in_step(lock, manifests)
        except SlipwayErrors as error:
            return error.faults
        return ()

    @pytest.mark.parametrize("overrides", [{"left": "2.0.0"}, {"left": {".": "^2.0.0"}}], ids=str)
    def test_a_lock_from_before_them(self, overrides: Any) -> None:
        (reason,) = self._reasons(overrides)
        assert reason.startswith("package.json: overrides: left ")
        assert reason.endswith(f": the lockfile has left@1.0.0 in {self.PATH}")

    @pytest.mark.parametrize(
        "overrides",
        [
            *({"left": "^1.0.0"}, {"left": "latest"}, {"left": "$top"}, {"left": ""}),
            *({"left@2": "3.0.0"}, {"top": {"left": "1.0.0"}}, {"other": "2.0.0"}),
            *({"left": {"top": "2.0.0"}}, {"left": 1}, [], "x", None),
        ],
        ids=str,
    )
    def test_what_fits_or_only_npm_can_decide(self, overrides: Any) -> None:
        assert self._reasons(overrides) == ()


def test_a_version_1_lock_with_a_folder_is_refused_with_the_command_for_npm_7() -> None:
    """npm 7 and later ask the registry about such a lock (npm/cli#3628)."""
    lock = npm_lock.parse(
        lock_text_v1({"own": {"version": "file:libs/own"}}), "apps/x/package-lock.json"
    )
    manifest.require_npm(lock, "6.14.18")
    with pytest.raises(SlipwayError) as caught:
        manifest.require_npm(lock, "8.19.4")
    assert caught.value.next.splitlines()[0] == f"{REWRITE} --lockfile-version=3"
