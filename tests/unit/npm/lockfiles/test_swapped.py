"""A lockfile must not keep the package of another name or source than package.json asks for."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

import pytest

from slipway.core.errors import SlipwayErrors
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import manifest
from tests.unit.npm.builders import entry, lock_text, lock_text_v1

PATH = "apps/x/package-lock.json"
REWRITE = "cd apps/x && npm install --package-lock-only --ignore-scripts"
LEFT = "node_modules/left"
ALIAS = {**entry("1.2.0", "right"), "name": "right"}

SWAPPED = {"dependencies": {"left": "npm:right@^1.0.0"}}
REASON = (
    "package.json: dependencies: left npm:right@^1.0.0: the lockfile has left@1.0.0 in "
    "node_modules/left"
)
TOP = {"dependencies": {"top": "^1.0.0"}}


def _check(text: str, root: Dict[str, Any], **folders: Dict[str, Any]) -> None:
    lock = npm_lock.parse(text, PATH)
    own = {f"{folder}/package.json": json.dumps(fields) for folder, fields in folders.items()}
    manifest.require_in_step(lock, {"package.json": json.dumps(root), **own})


def _check_v3(
    root: Dict[str, Any], packages: Dict[str, Any], before: Optional[Dict[str, Any]] = None
) -> None:
    """`before` is the root of the lockfile; npm's next run makes it equal to package.json."""
    _check(lock_text(packages, before or root), root)


def _refused(*arguments: Any) -> SlipwayErrors:
    with pytest.raises(SlipwayErrors) as caught:
        _check_v3(*arguments)
    return caught.value


class TestDependenciesOfTheApplication:
    @pytest.mark.parametrize("before", [SWAPPED, {"dependencies": {"left": "^1.0.0"}}])
    def test_a_range_became_an_alias(self, before: Dict[str, Any]) -> None:
        """With the specifier in the lockfile that npm wrote before, and after the command of old."""
        error = _refused(SWAPPED, {LEFT: entry()}, before)
        assert error.faults == (REASON,)
        assert error.next.splitlines()[-1] == f"{REWRITE} 'left@npm:right@^1.0.0'"

    def test_an_alias_became_a_range(self) -> None:
        error = _refused({"devDependencies": {"left": "^1.0.0"}}, {LEFT: ALIAS})
        assert "devDependencies: left ^1.0.0: the lockfile has right@1.2.0" in error.faults[0]
        assert error.next == f"{REWRITE} 'left@^1.0.0'"

    def test_an_alias_of_another_package(self) -> None:
        error = _refused({"dependencies": {"left": "npm:@team/right@1.x"}}, {LEFT: ALIAS})
        assert "left npm:@team/right@1.x: the lockfile has right@1.2.0" in error.faults[0]

    @pytest.mark.parametrize("spec", ["^1.0.0", "npm:left@^1.0.0"])
    def test_a_file_became_a_range(self, spec: str) -> None:
        root = {"dependencies": {"left": spec}}
        tarball = {**entry(), "resolved": "file:vendor/left.tgz"}
        error = _refused(root, {LEFT: tarball})
        assert f"left {spec}: the lockfile has file:vendor/left.tgz" in error.faults[0]

    def test_a_folder_became_a_range(self) -> None:
        packages = {
            LEFT: {"resolved": "libs/left", "link": True},
            "libs/left": {"version": "1.0.0"},
        }
        root = {"dependencies": {"left": "^1.0.0"}}
        with pytest.raises(SlipwayErrors) as caught:
            _check(lock_text(packages, root), root, **{"libs/left": {"version": "1.0.0"}})
        assert "left ^1.0.0: the lockfile has file:libs/left" in caught.value.faults[0]

    def test_the_command_quotes_what_a_shell_would_read(self) -> None:
        error = _refused({"dependencies": {"left": "npm:right@>=1 <2; rm -rf ~"}}, {LEFT: entry()})
        assert error.next == f"{REWRITE} 'left@npm:right@>=1 <2; rm -rf ~'"

    def test_a_version_1_lock(self) -> None:
        with pytest.raises(SlipwayErrors) as caught:
            _check(lock_text_v1({"left": entry()}), SWAPPED)
        assert caught.value.faults == (REASON,)


class TestDependenciesOfPackages:
    """The application depends on `top`, and `top` on `left`."""

    def _packages(self, spec: str, left: Dict[str, Any]) -> Dict[str, Any]:
        top = entry(name="top", dependencies={"left": spec})
        return {"node_modules/top": top, LEFT: left}

    def test_another_package_than_the_alias_names(self) -> None:
        error = _refused(TOP, self._packages("npm:right@^1.0.0", entry()))
        assert error.faults == (REASON.replace("package.json", "node_modules/top"),)
        assert error.next == f'remove the entry "{LEFT}" from {PATH}, and run: {REWRITE}'

    def test_the_package_of_the_application_in_its_place(self) -> None:
        root = {"dependencies": {"top": "^1.0.0", "left": "^1.0.0"}}
        error = _refused(root, self._packages("npm:right@^1.0.0", entry()))
        assert 'npm uses the application\'s dependency "left" for it' in error.next
        assert '"<name>": "npm:left@<range>"' in error.next

    def test_an_alias_that_nothing_asks_for(self) -> None:
        error = _refused(TOP, self._packages("^1.0.0", ALIAS))
        assert "left ^1.0.0: the lockfile has right@1.2.0" in error.faults[0]

    def test_a_version_1_lock(self) -> None:
        text = lock_text_v1(
            {
                "top": {**entry(name="top"), "requires": {"left": "npm:right@^1.0.0"}},
                "left": entry(),
            }
        )
        with pytest.raises(SlipwayErrors) as caught:
            _check(text, TOP)
        (fault,) = caught.value.faults
        assert fault.startswith(
            "node_modules/top: requires: left npm:right@^1.0.0: the lockfile has"
        )


FITTING: Dict[str, List[Dict[str, Any]]] = {
    "an alias": [{"dependencies": {"left": "npm:right@^1.0.0"}}, {LEFT: ALIAS}],
    "an alias of its own name": [{"dependencies": {"left": "npm:left@^1.0.0"}}, {LEFT: entry()}],
    "an alias of the application in place of a range, as preact for react": [
        {"dependencies": {"left": "npm:right@^1.0.0", "top": "1.0.0"}},
        {
            LEFT: ALIAS,
            "node_modules/top": entry(
                name="top", dependencies={"left": "^1.0.0"}, peerDependencies={"left": "*"}
            ),
        },
    ],
    "an override": [
        {
            "dependencies": {"top": "1.0.0"},
            "overrides": {"top": {"left@1": "npm:right@^1.0.0"}},
        },
        {LEFT: ALIAS, "node_modules/top": entry(name="top", dependencies={"left": "^1.0.0"})},
    ],
    "dev dependencies of a package": [
        {"dependencies": {"top": "1.0.0", "left": "^1.0.0"}},
        {
            LEFT: entry(),
            "node_modules/top": entry(name="top", devDependencies={"left": "npm:right@^1.0.0"}),
        },
    ],
    "an optional peer that is not installed": [
        {"dependencies": {"top": "1.0.0"}},
        {"node_modules/top": entry(name="top", peerDependencies={"left": "npm:right@^1.0.0"})},
    ],
}


@pytest.mark.parametrize(("root", "packages"), FITTING.values(), ids=FITTING)
def test_a_package_that_fits(root: Dict[str, Any], packages: Dict[str, Any]) -> None:
    _check_v3(root, packages)


def test_a_workspace_fits_a_range() -> None:
    root = {"workspaces": ["libs/*"], "dependencies": {"left": "^1.0.0"}}
    packages = {LEFT: {"resolved": "libs/left", "link": True}, "libs/left": {"version": "1.0.0"}}
    _check(lock_text(packages, root), root, **{"libs/left": {"version": "1.0.0"}})
