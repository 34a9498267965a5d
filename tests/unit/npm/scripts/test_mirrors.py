"""What steers a download: by convention, by name, by the user; and what a request tells of it."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import pytest

from slipway.npm.scripts import mirrors

CONVENTIONS: Dict[str, Tuple[str, Dict[str, Any], Tuple[str, ...]]] = {
    "node-pre-gyp": (
        "bcrypt",
        {"scripts": {"install": "node-pre-gyp install"}, "binary": {"module_name": "bcrypt_lib"}},
        ("npm_config_bcrypt_lib_binary_host_mirror",),
    ),
    "node-pre-gyp with dashes": (
        "x",
        {"scripts": {"install": "node-pre-gyp install"}, "binary": {"module_name": "a-b-c"}},
        (
            "npm_config_a_b-c_binary_host_mirror",
            "npm_config_a_b_c_binary_host_mirror",
            "npm_config_a-b-c_binary_host_mirror",
        ),
    ),
    "prebuild-install": (
        "better-sqlite3",
        {"scripts": {"install": "prebuild-install || node-gyp rebuild"}},
        ("npm_config_better_sqlite3_binary_host", "npm_config_better_sqlite3_binary_host_mirror"),
    ),
    "prebuild-install with a scope": (
        "@team/addon",
        {"scripts": {"install": "prebuild-install"}},
        ("npm_config_team_addon_binary_host", "npm_config_team_addon_binary_host_mirror"),
    ),
    "a name of its own": (
        "node-sass",
        {"scripts": {"install": "node scripts/install.js"}},
        ("SASS_BINARY_SITE", "npm_config_sass_binary_site"),
    ),
    "nothing": ("plain", {"scripts": {"install": "node x"}, "binary": "odd"}, ()),
}


@pytest.mark.parametrize("kind", CONVENTIONS)
def test_the_variables_of_a_package(kind: str) -> None:
    name, manifest, expected = CONVENTIONS[kind]
    assert mirrors.variables(name, manifest, {}) == expected


def test_the_user_s_own_table_comes_first() -> None:
    own = {"node-sass": ["OUR_SASS"], "plain": ["PLAIN_MIRROR"]}
    found = mirrors.variables("node-sass", {}, own)
    assert found == ("OUR_SASS", "SASS_BINARY_SITE", "npm_config_sass_binary_site")
    assert mirrors.variables("plain", {}, own) == ("PLAIN_MIRROR",)


@pytest.mark.parametrize(
    ("package", "variable", "known"),
    [
        ("node-sass", "SASS_BINARY_SITE", True),
        ("bcrypt", "npm_config_bcrypt_lib_binary_host_mirror", True),
        ("sqlite3", "npm_config_sqlite3_binary_host", True),
        ("plain", "PLAIN_MIRROR", True),
        ("bcrypt", "SASS_BINARY_SITE", False),
        ("other", "PLAIN_MIRROR", False),
        ("bcrypt", "CI_DEPLOY_TOKEN", False),
        ("bcrypt", "npm_config_//registry.example/:_authToken", False),
        ("bcrypt", "npm_config__auth", False),
        ("bcrypt", "AWS_binary_host", False),
    ],
)
def test_only_variables_for_mirrors_of_the_package_are_known(
    package: str, variable: str, known: bool
) -> None:
    assert mirrors.is_known(package, variable, {"plain": ["PLAIN_MIRROR"]}) is known


def test_a_request_shows_which_variable_it_used() -> None:
    names = ("A", "ELECTRON_MIRROR")
    given = mirrors.addresses(names, "http://127.0.0.1:9")
    assert given == {"A": "http://127.0.0.1:9/0", "ELECTRON_MIRROR": "http://127.0.0.1:9/1/"}
    assert mirrors.split_request("/1//v1/x.zip?y", names) == ("ELECTRON_MIRROR", "v1/x.zip")
    assert mirrors.split_request("/v1/x.zip", names) == ("A", "v1/x.zip")
    assert mirrors.split_request("/²/x.zip", names) == ("A", "²/x.zip")


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("node-pre-gyp install --fallback-to-build", "node-pre-gyp"),
        ("prebuild-install -r napi || node-gyp rebuild", "prebuild-install"),
        ("node-gyp-build", "contains its binaries"),
        ("node-gyp rebuild", "node-gyp"),
        ("node install.js", "custom script"),
    ],
)
def test_the_kind_of_a_script(script: str, kind: str) -> None:
    assert mirrors.kind({"install": script}) == kind
