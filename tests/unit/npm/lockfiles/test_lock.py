"""Reading npm locks: what the tree is made of, and what is refused before anything runs."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import package
from slipway.npm.lockfiles.lock import NpmLock
from tests.unit.npm.builders import entry, integrity_of, lock_text, lock_text_v1, make_lock, sha1

PATH = "apps/x/package-lock.json"
REWRITE = "cd apps/x && npm install --package-lock-only --ignore-scripts"


def _kinds(lock: NpmLock) -> Dict[str, Tuple[str, str, str]]:
    return {one.path: (one.kind, one.name, one.version) for one in lock.packages}


def test_kinds_of_a_version_3_lock() -> None:
    lock = make_lock(
        {
            "libs/own": {"version": "0.1.0", "name": "own"},
            "libs/own/node_modules/right": entry("2.0.0", "right"),
            "node_modules/left": entry(),
            "node_modules/other": {**entry(name="@team/real"), "name": "@team/real"},
            "node_modules/own": {"resolved": "libs/own", "link": True},
            "node_modules/packed": {
                **entry("1.2.3", "packed"),
                "resolved": "file:vendor/packed-1.2.3.tgz",
            },
            "node_modules/packed/node_modules/inner": {"version": "1.0.0", "inBundle": True},
            "node_modules/remote": {
                **entry("3.0.0", "remote"),
                "resolved": "https://files.example/remote.tgz",
            },
        },
        {"dependencies": {"remote": "https://files.example/remote.tgz", "left": "^1.0.0"}},
    )
    assert _kinds(lock) == {
        "libs/own": ("folder", "own", "0.1.0"),
        "libs/own/node_modules/right": ("registry", "right", "2.0.0"),
        "node_modules/left": ("registry", "left", "1.0.0"),
        "node_modules/other": ("alias", "@team/real", "1.0.0"),
        "node_modules/own": ("link", "own", "0.1.0"),
        "node_modules/packed": ("file-tarball", "packed", "1.2.3"),
        "node_modules/packed/node_modules/inner": ("bundled", "inner", "1.0.0"),
        "node_modules/remote": ("remote-tarball", "remote", "3.0.0"),
    }
    assert lock.link_targets == ("libs/own",)
    assert lock.manifests == ("package.json", "libs/own/package.json")
    assert [(one.path, one.source) for one in lock.local_tarballs] == [
        ("node_modules/packed", "vendor/packed-1.2.3.tgz")
    ]
    assert [(one.name, one.url) for one in lock.tarballs] == [
        ("@team/real", None),
        ("left", None),
        ("remote", "https://files.example/remote.tgz"),
        ("right", None),
    ]


def test_kinds_of_a_version_1_lock() -> None:
    lock = npm_lock.parse(
        lock_text_v1(
            {
                "left": {
                    **entry(),
                    "requires": {"right": "^2.0.0"},
                    "dependencies": {"right": entry("2.0.0", "right", dev=True)},
                },
                "other": {"version": "npm:@team/real@1.0.0", "integrity": integrity_of("r", "1")},
                "own": {
                    "version": "file:libs/own",
                    "dependencies": {"right": entry("3.0.0", "right")},
                },
                "packed": {
                    "version": "file:vendor/packed-1.2.3.tgz",
                    "integrity": integrity_of("p", "1"),
                    "dependencies": {"inner": {"version": "1.0.0", "bundled": True}},
                },
                "remote": {
                    "version": "https://files.example/remote-3.0.0.tgz",
                    "integrity": integrity_of("r", "3"),
                },
            }
        ),
        PATH,
    )
    assert _kinds(lock) == {
        "node_modules/left": ("registry", "left", "1.0.0"),
        "node_modules/left/node_modules/right": ("registry", "right", "2.0.0"),
        "node_modules/other": ("alias", "@team/real", "1.0.0"),
        "node_modules/own": ("link", "own", ""),
        # What hangs below a link lies in the folder itself.
        "libs/own/node_modules/right": ("registry", "right", "3.0.0"),
        "node_modules/packed": ("file-tarball", "packed", ""),
        "node_modules/packed/node_modules/inner": ("bundled", "inner", "1.0.0"),
        "node_modules/remote": ("remote-tarball", "remote", "3.0.0"),
    }
    assert lock.manifests == ("package.json", "libs/own/package.json")


def test_what_the_application_itself_bundles_is_fetched_as_usual() -> None:
    """npm gives it an integrity; it gives none to what is in the archive of another package."""
    root = {"dependencies": {"left": "^1.0.0"}, "bundleDependencies": ["left"]}
    for lock in (
        make_lock({"node_modules/left": entry(inBundle=True)}, root),
        npm_lock.parse(lock_text_v1({"left": entry(bundled=True)}), PATH),
    ):
        assert _kinds(lock) == {"node_modules/left": ("registry", "left", "1.0.0")}


def test_workspaces_are_distinguished_from_folders() -> None:
    lock = make_lock(
        {
            "packages/a": {"version": "1.0.0", "name": "a"},
            "libs/b": {"version": "1.0.0", "name": "b"},
            "node_modules/a": {"resolved": "packages/a", "link": True},
            "node_modules/b": {"resolved": "libs/b", "link": True},
        },
        {"workspaces": ["packages/*"], "dependencies": {"b": "file:libs/b"}},
    )
    assert {one.path: one.kind for one in lock.packages if not one.in_node_modules} == {
        "packages/a": "workspace",
        "libs/b": "folder",
    }


def test_flags_and_conditions_of_a_package() -> None:
    lock = make_lock(
        {
            "node_modules/left": entry(
                dev=True,
                optional=True,
                peer=True,
                hasInstallScript=True,
                os=["linux", "!win32"],
                cpu=["x64"],
                engines={"node": ">=6"},
                bin={"left": "bin/../cli.js", "../evil": "../../etc/passwd"},
            ),
            "node_modules/right": entry(name="right", devOptional=True),
        }
    )
    left, right = lock.packages
    assert (left.dev, left.optional, left.peer, left.dev_optional) == (True, True, True, False)
    assert (left.os, left.cpu, left.engines) == (("linux", "!win32"), ("x64",), (("node", ">=6"),))
    # npm keeps bins below the package and links below .bin, whatever is written.
    assert left.bin == (("left", "cli.js"), ("evil", "etc/passwd"))
    assert lock.with_install_script == (left,)
    assert right.dev_optional
    assert not right.dev


def test_a_registry_package_is_known_whatever_its_dead_address_says() -> None:
    for resolved in (
        "https://gone.example/left/-/left-1.0.0.tgz",
        "https://gone.example/left/download/left-1.0.0.tgz?cache=0",
        "",
        None,
        False,
    ):
        lock = make_lock({"node_modules/left": {**entry(), "resolved": resolved}})
        assert _kinds(lock) == {"node_modules/left": ("registry", "left", "1.0.0")}


def test_sha1_alone_is_accepted() -> None:
    lock = make_lock({"node_modules/left": entry(integrity=sha1(b"left"))})
    assert lock.tarballs[0].integrity == sha1(b"left")


def test_one_tarball_at_many_places_is_fetched_once() -> None:
    lock = make_lock(
        {"node_modules/left": entry(), "node_modules/right/node_modules/left": entry()}
    )
    assert len(lock.packages) == 2
    assert len(lock.tarballs) == 1


def test_equal_text_means_an_equal_lock() -> None:
    assert make_lock() == make_lock()
    assert hash(make_lock()) == hash(make_lock())
    assert make_lock() != make_lock({})


# name: (lock, what is said, where, what to do)
BAD: Dict[str, Tuple[str, str, str, str]] = {
    "not JSON": ('{"lockfileVersion": 3,', "is not JSON", f"{PATH}:1:23", REWRITE),
    "a merge conflict": ("{\n<<<<<<< ours\n", "is not JSON", f"{PATH}:2:1", REWRITE),
    "no version": ("{}", "an unsupported lockfileVersion", PATH, "--lockfile-version=3"),
    "version 4": (lock_text(version=4), "an unsupported lockfileVersion", PATH, REWRITE),
    "version true": (
        '{"lockfileVersion": true}', "an unsupported lockfileVersion", PATH, REWRITE,
    ),
    "no table": ('{"lockfileVersion": 3}', 'has no "packages" table', PATH, "restore the lock"),
    "a table that is a list": (
        '{"lockfileVersion": 2, "packages": []}', 'has no "packages" table', PATH, "restore",
    ),
    "an entry that is a number": (
        lock_text({"node_modules/left": 1}), "is not an object", f"{PATH}:11", "restore the lock",
    ),
    "a list of dependencies": (
        '{"lockfileVersion": 1, "dependencies": []}', "is not an object", PATH, "restore the lock",
    ),
    "one path twice": (
        '{"lockfileVersion": 3, "packages": {"": {},\n"node_modules/a": {},\n"node_modules/a": {}}}',
        'two entries "node_modules/a" in the same object',
        f"{PATH}:3",
        REWRITE,
    ),
    "one name twice in a version 1 lock": (
        '{"lockfileVersion": 1, "dependencies": {"a": {},\n"a": {}}}',
        'two entries "a" in the same object',
        f"{PATH}:2",
        REWRITE,
    ),
    "one path in two spellings": (
        lock_text({"node_modules//left": entry()}), "contains an empty part", PATH, "restore",
    ),
    "a path with a dot": (
        lock_text({"node_modules/./left": entry()}), "contains an empty part", PATH, "restore",
    ),
    "a path upwards": (
        lock_text({"node_modules/../../left": entry()}),
        "leaves the application's folder", PATH, "restore the lock",
    ),
    "a path from above": (
        lock_text({"../node_modules/left": entry()}),
        "leaves the application's folder", PATH, "restore the lock",
    ),
    "an absolute path": (
        lock_text({"/node_modules/left": entry()}), "is an absolute path", PATH, "restore",
    ),
    "a drive": (lock_text({"C:/node_modules/x": entry()}), "absolute", PATH, "restore the lock"),
    "a backslash": (
        lock_text({"node_modules\\..\\x": entry()}), "a backslash or a control character", PATH, "restore",
    ),
    "a line break": (
        lock_text({"node_modules/a\nb": entry()}), "a backslash or a control character", PATH, "restore",
    ),
    "npm's own folder": (
        lock_text({"node_modules/.bin": entry()}), '".bin" is not a valid npm package name', PATH, "restore the lock",
    ),
    "no name": (lock_text({"node_modules": entry()}), "does not name a package", PATH, "restore"),
    "a name in a name": (
        lock_text({"node_modules/a/b": entry()}), '"a/b" is not a valid npm package name', PATH, "restore the lock",
    ),
    "a bad real name": (
        lock_text({"node_modules/a": {**entry(), "name": "../x"}}), '"../x" is not a valid npm package name', PATH,
        "restore the lock",
    ),
    "a bad name in a version 1 lock": (
        lock_text_v1({"../../x": entry()}), '"../../x" is not a valid npm package name', PATH, "restore the lock",
    ),
    "a bad alias in a version 1 lock": (
        lock_text_v1({"a": {"version": "npm:../x@1.0.0"}}), '"../x" is not a valid npm package name', PATH, "restore",
    ),
    "behind a link": (
        lock_text({
            "libs/a": {"version": "1.0.0"},
            "node_modules/a": {"resolved": "libs/a", "link": True},
            "node_modules/a/node_modules/left": entry(),
        }),
        'is inside the link "node_modules/a"', PATH, "restore the lock",
    ),
    "a range without integrity": (
        lock_text({"node_modules/left": entry("1.x", integrity=None)}),
        'has no integrity, and "1.x" is not an exact version', f"{PATH}:11", "restore the lock",
    ),
    "a tag without integrity in a version 1 lock": (
        lock_text_v1({"left": {"version": "latest"}}),
        'has no integrity, and "latest" is not an exact version', f"{PATH}:6", "restore the lock",
    ),
    "neither version nor integrity": (
        lock_text({"node_modules/left": {"license": "MIT"}}), "has no usable version ('')",
        f"{PATH}:11", "restore the lock",
    ),
    "a placeholder of npm 11 for an optional package": (
        lock_text({"node_modules/left": {"optional": True, "dev": True}}),
        "is an optional package without a version", f"{PATH}:11",
        f'remove the entry "node_modules/left" from {PATH}, and run: {REWRITE}',
    ),
    "a URL without integrity": (
        lock_text(
            {"node_modules/left": {"version": "1.0.0", "resolved": "https://files.example/l.tgz"}},
            {"dependencies": {"left": "https://files.example/l.tgz"}},
        ),
        "node_modules/left: has no integrity", PATH, f"{REWRITE} left@<its URL in package.json>",
    ),
    "an entry that two contents fit": (
        lock_text({
            "node_modules/a": {"version": "1.0.0", "name": "left"},
            "node_modules/left": entry(),
            "node_modules/b": {**entry(name="b"), "name": "left"},
        }),
        "node_modules/a: has no integrity, and other entries have several contents for left@1.0.0",
        PATH, "restore the lock",
    ),
    "half an integrity": (
        lock_text({"node_modules/left": entry(integrity="sha512-AAAA")}),
        "sha512 has 64 bytes, but 'sha512-AAAA' holds 3", PATH, "restore the lock",
    ),
    "MD5": (
        lock_text({"node_modules/left": entry(integrity="md5-1B2M2Y8AsgTpgAmY7PhCfg==")}),
        "none of sha512", PATH, "restore the lock",
    ),
    "a version with a space": (
        lock_text({"node_modules/left": entry("1.0 .0")}), "has no usable version", PATH, "restore",
    ),
    "no version in a version 1 lock": (
        lock_text_v1({"left": {}}), "has no usable version", PATH, "restore the lock",
    ),
    "git": (
        lock_text({"node_modules/g": {
            "version": "1.0.0", "resolved": "git+ssh://git@git.example/a/g.git#0123",
        }}),
        "is a git dependency (git+ssh://git.example/a/g.git#0123)", PATH,
        'depend on "file:<name>-<version>.tgz"',
    ),
    "git in a version 1 lock": (
        lock_text_v1({"g": {"version": "github:a/g#0123", "from": "github:a/g"}}),
        "is a git dependency (github:a/g#0123)", PATH, "publish the package to a registry",
    ),
    "git from nowhere": (
        lock_text({"node_modules/g": {"version": "1.0.0", "resolved": "git+ssh://git@[bad/g.git"}}),
        "is a git dependency (git+ssh://[bad/g.git)", PATH, "`npm pack` it",
    ),
    "git from nowhere in a version 1 lock": (
        lock_text_v1({"g": {"version": "git+ssh://[bad/g.git"}}),
        "is a git dependency (git+ssh://[bad/g.git)", PATH, "publish the package to a registry",
    ),
    "a link upwards": (
        lock_text({"node_modules/own": {"resolved": "../own", "link": True}}),
        'points to "../own", outside', PATH, "`npm pack` it there",
    ),
    "a folder above": (
        lock_text({"../own": {"version": "1.0.0"}}), 'points to "../own", outside', PATH,
        "move the package into the application's folder",
    ),
    "a link in disguise": (
        lock_text({"node_modules/own": {"resolved": "a/%2e%2e/../b", "link": True}}),
        "outside the application's folder", PATH, "move the package",
    ),
    "a folder above in a version 1 lock": (
        lock_text_v1({"own": {"version": "file:../own"}}), 'points to "file:../own"', PATH,
        "move the package into",
    ),
    "a tarball above": (
        lock_text({"node_modules/p": {**entry(), "resolved": "file:../p.tgz"}}),
        'points to "file:../p.tgz"', PATH, "move the package into",
    ),
    "a folder that install-links copies": (
        lock_text({"node_modules/own": {"version": "1.0.0", "resolved": "file:libs/own"}}),
        'is a copy of the folder "libs/own", made with the npm setting install-links', f"{PATH}:11",
        f"{REWRITE} --install-links=false",
    ),
    "a link to nothing": (
        lock_text({"node_modules/own": {"resolved": "libs/own", "link": True}}),
        'links to "libs/own", which has no entry', PATH, "restore the lock",
    ),
    "a link without a target": (
        lock_text({"node_modules/own": {"link": True}}), "a link without a target", PATH,
        "restore the lock",
    ),
    "a link into node_modules": (
        lock_text({
            "node_modules/left": entry(),
            "node_modules/own": {"resolved": "node_modules/left", "link": True},
        }),
        'links into node_modules ("node_modules/left")', PATH, "restore the lock",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str) -> None:
    text, what, where, then = BAD[name]
    with pytest.raises(SlipwayError) as caught:
        npm_lock.parse(text, PATH)
    message = str(caught.value)
    assert what in message
    assert where in message
    assert then in caught.value.next


class TestEntriesWithoutIntegrity:
    """npm leaves it out of some entries (npm/cli#4263, #6301)."""

    def test_name_and_version_identify_the_tarball(self) -> None:
        packages = {
            "node_modules/left": {"version": "1.0.0"},
            "node_modules/other": {"version": "2.0.0", "name": "@team/real", "integrity": ""},
        }
        for lock in (
            make_lock(packages),
            npm_lock.parse(
                lock_text_v1(
                    {
                        "left": {"version": "1.0.0"},
                        "other": {"version": "npm:@team/real@2.0.0", "integrity": None},
                    }
                ),
                PATH,
            ),
        ):
            assert [(one.name, one.version, one.integrity) for one in lock.tarballs] == [
                ("@team/real", "2.0.0", ""), ("left", "1.0.0", ""),
            ]  # fmt: skip

    def test_another_entry_of_the_same_version_has_its_integrity(self) -> None:
        lock = make_lock(
            {
                "node_modules/a": entry(name="a"),
                "node_modules/a/node_modules/left": {"version": "1.0.0"},
                "node_modules/left": entry(),
            }
        )
        assert {one.integrity for one in lock.packages if one.name == "left"} == {
            integrity_of("left", "1.0.0")
        }
        assert [one.name for one in lock.tarballs] == ["a", "left"]

    def test_a_tarball_of_the_application_needs_none(self) -> None:
        lock = make_lock({"node_modules/p": {"version": "1.0.0", "resolved": "file:vendor/p.tgz"}})
        assert [one.source for one in lock.local_tarballs] == ["vendor/p.tgz"]
        assert lock.tarballs == ()

    def test_the_application_bundles_it_and_npm_fetches_it(self) -> None:
        lock = make_lock(
            {
                "node_modules/left": {"version": "1.0.0", "inBundle": True},
                "node_modules/left/node_modules/in": {"version": "1.0.0", "inBundle": True},
            },
            {"bundleDependencies": ["left"]},
        )
        assert [one.kind for one in lock.packages] == ["registry", "bundled"]


def test_tells_all_faults_at_once() -> None:
    with pytest.raises(SlipwayError) as caught:
        make_lock(
            {
                "node_modules/a b": entry(),
                "node_modules/a": entry("1.x", integrity=None),
                "node_modules/c": {"version": "1.0.0", "resolved": "git+https://g.example/c.git"},
            }
        )
    message = str(caught.value)
    for line in ("1. apps/x/package-lock.json:11: node_modules/a b: ", "2. ", "3. "):
        assert line in message
    assert len(caught.value.next.splitlines()) == 3


class TestForeignLocks:
    @pytest.mark.parametrize(
        "names", [["package-lock.json"], ["npm-shrinkwrap.json", "yarn.lock"], ["package-lock.json", "yarn.lock"]]
    )  # fmt: skip
    def test_an_npm_lock_is_enough(self, names: List[str]) -> None:
        npm_lock.refuse_foreign_lock(names, "apps/x")

    @pytest.mark.parametrize("name", ["yarn.lock", "pnpm-lock.yaml", "bun.lockb", "bun.lock"])
    def test_another_managers_lock_is_refused_with_the_command(self, name: str) -> None:
        with pytest.raises(SlipwayError) as caught:
            npm_lock.refuse_foreign_lock(["package.json", name], "apps/x")
        assert caught.value.what == f'"apps/x/{name}" is not an npm lockfile'
        assert caught.value.next.startswith(f"{REWRITE}   # with npm 7 or later: ")

    def test_no_lock_at_all(self) -> None:
        with pytest.raises(SlipwayError) as caught:
            npm_lock.refuse_foreign_lock(["package.json"], "")
        assert caught.value.what == 'no package-lock.json in "."'
        assert caught.value.next == "npm install --package-lock-only --ignore-scripts"


_NAMES = st.sampled_from(["a", "b", "@s/c", "..", ".", "", "node_modules", "x y", "../a", "C:"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/node_modules/".join).map(
    lambda path: f"node_modules/{path}"
) | st.lists(_NAMES, max_size=4).map("/".join)
_NONE_REQUIRED: Dict[str, st.SearchStrategy[Any]] = {}
_ENTRIES = st.fixed_dictionaries(
    _NONE_REQUIRED,
    optional={
        "version": st.sampled_from(["1.0.0", "", "file:x", "file:../x", "file:a.tgz", "npm:a@1"]),
        "integrity": st.sampled_from([integrity_of("a", "1"), "sha1-x", "", None]),
        "resolved": st.sampled_from(["x", "../x", "file:x.tgz", "https://r.example/a.tgz", 7]),
        "link": st.booleans(),
        "inBundle": st.booleans(),
        "dev": st.booleans(),
        "dependencies": st.dictionaries(_NAMES, st.text(max_size=3), max_size=2),
        "bin": st.text(max_size=5) | st.dictionaries(st.text(max_size=5), st.text(max_size=9)),
    },
)


@given(st.sampled_from([1, 2, 3]), st.dictionaries(_PATHS | _NAMES, _ENTRIES | st.none()))
def test_no_lock_gives_a_path_outside_or_any_other_error(
    version: int, table: Dict[str, Any]
) -> None:
    document = {"lockfileVersion": version, "packages": {**table, "": {}}, "dependencies": table}
    try:
        lock = npm_lock.parse(json.dumps(document), PATH)
    except SlipwayError:
        return
    for one in lock.packages:
        for path in (one.path, one.target, one.source):
            if path and not path.startswith("https://"):
                assert package.bad_path(path) is None
        for link, file in one.bin:
            assert "/" not in link
            assert ".." not in file.split("/")


# --- Packages for other systems.

PLATFORMS: Dict[str, Dict[str, Any]] = {
    "node_modules/here": entry(name="here", optional=True, os=["linux"], cpu=["x64"]),
    "node_modules/mac": entry(name="mac", optional=True, dev=True, os=["darwin"]),
    "node_modules/arm": entry(name="arm", optional=True, cpu=["arm64"]),
    "node_modules/musl": entry(name="musl", optional=True, libc=["musl"]),
    "node_modules/not-here": entry(name="not-here", optional=True, os=["!linux"]),
    "node_modules/needed": entry(name="needed", os=["darwin"]),
}


def test_optional_packages_for_other_systems_are_not_fetched() -> None:
    found = make_lock(PLATFORMS)
    assert [one.name for one in found.tarballs] == ["here", "needed"]
    assert {one.name for one in found.foreign_tarballs} == {"mac", "arm", "musl", "not-here"}


def test_a_tarball_that_this_system_needs_too_is_fetched() -> None:
    both = {
        "node_modules/a": entry(name="a"),
        "node_modules/b/node_modules/a": entry(name="a", optional=True, os=["darwin"]),
    }
    found = make_lock(both)
    assert [one.name for one in found.tarballs] == ["a"]
    assert not found.foreign_tarballs
