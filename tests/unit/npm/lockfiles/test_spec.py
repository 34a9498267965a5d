from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.npm.lockfiles import spec as npm_spec
from slipway.npm.lockfiles.spec import Spec

SPECS = {
    "^1.2.3": Spec("registry", "^1.2.3"),
    " >=1 <2 || 3.x ": Spec("registry", ">=1 <2 || 3.x"),
    "latest": Spec("registry", "latest"),
    "": Spec("registry", ""),
    "*": Spec("registry", "*"),
    "npm:debug@^2.6.9": Spec("alias", "^2.6.9", "debug"),
    "npm:@babel/parser@7.23.0": Spec("alias", "7.23.0", "@babel/parser"),
    "npm:debug": Spec("alias", "*", "debug"),
    "file:libs/folder": Spec("folder", "libs/folder"),
    "file:./libs/folder": Spec("folder", "./libs/folder"),
    "file:../outside": Spec("folder", "../outside"),
    "file:a%20b": Spec("folder", "a b"),
    "link:libs/x.tgz": Spec("folder", "libs/x.tgz"),
    "./libs": Spec("folder", "./libs"),
    "~/libs": Spec("folder", "~/libs"),
    "/srv/libs": Spec("folder", "/srv/libs"),
    "a/b/c": Spec("folder", "a/b/c"),
    "file:vendor/x-1.0.0.tgz": Spec("file-tarball", "vendor/x-1.0.0.tgz"),
    "vendor/deep/x.tar.gz": Spec("file-tarball", "vendor/deep/x.tar.gz"),
    "x.tgz": Spec("file-tarball", "x.tgz"),
    "workspace:*": Spec("workspace", "*"),
    "https://files.example/x.tgz": Spec("remote-tarball", "https://files.example/x.tgz"),
    "https://files.example/download?id=7": Spec(
        "remote-tarball", "https://files.example/download?id=7"
    ),
    "https://github.com/a/b/archive/1.0.tar.gz": Spec(
        "remote-tarball", "https://github.com/a/b/archive/1.0.tar.gz"
    ),
    "https://github.com/a/b": Spec("git", "https://github.com/a/b"),
    "https://github.com/a/b.git#v1": Spec("git", "https://github.com/a/b.git#v1"),
    "git+https://git.example/a/b.git": Spec("git", "git+https://git.example/a/b.git"),
    "git://git.example/a": Spec("git", "git://git.example/a"),
    "git+ssh://git@git.example/a/b.git#abc": Spec("git", "git+ssh://git@git.example/a/b.git#abc"),
    "git@git.example:a/b.git": Spec("git", "git@git.example:a/b.git"),
    "github:a/b#semver:^1": Spec("git", "github:a/b#semver:^1"),
    "a/b": Spec("git", "a/b"),
    "a/b#v1.0.0": Spec("git", "a/b#v1.0.0"),
}


@pytest.mark.parametrize("spec", SPECS)
def test_kinds_of_specifiers(spec: str) -> None:
    assert npm_spec.parse(spec) == SPECS[spec]


@pytest.mark.parametrize(
    "name",
    ["koa", "@koa/router", "JSONStream", "lodash.merge", "a", "1", "-", "~x", "it's", "@a/b_c"],
)
def test_names_that_npm_installs(name: str) -> None:
    assert npm_spec.is_valid_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".bin", "_x", "a/b", "@a", "@a/", "@/a", "@a/.b", "@a/b/c", "a b", " a"),
        *("a\n", "a\x00", "node_modules", "favicon.ico", "ä", "a%2fb", "a\\b", "x" * 215, "@../a"),
    ],
)
def test_names_that_no_package_may_have(name: str) -> None:
    assert not npm_spec.is_valid_name(name)


def test_logins_are_taken_out_of_addresses() -> None:
    clean = "https://host.example:8080/x?y#z"
    assert npm_spec.without_login("https://user:pa@ss@host.example:8080/x?y#z") == clean
    assert npm_spec.without_login(clean) == clean


def test_a_login_is_taken_out_of_what_nothing_can_read() -> None:
    assert npm_spec.without_login("git+ssh://git:pass@[bad/x.git") == "git+ssh://[bad/x.git"
    assert npm_spec.without_login("a b://user:pass@host.example/x") == "a b://host.example/x"
    assert npm_spec.without_login("//user@[/@x") == "//[/@x"


@given(st.text(st.characters() | st.sampled_from(":/@[]#?")))
def test_any_text_is_parsed_as_a_specifier(text: str) -> None:
    assert npm_spec.parse(text).kind


@given(st.text())
def test_a_valid_name_is_one_or_two_plain_path_segments(name: str) -> None:
    if npm_spec.is_valid_name(name):
        segments = name.split("/")
        assert len(segments) == (2 if name.startswith("@") else 1)
        assert not {"", ".", ".."} & set(segments)
