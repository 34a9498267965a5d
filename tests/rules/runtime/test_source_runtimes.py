"""Runtimes from source: what the step gets, and what is refused before anything runs."""

from __future__ import annotations

import hashlib
from typing import Any, Dict

import pytest
from pants.core.goals.package import BuiltPackage

from slipway.runtime.programs import build, replace_npm
from slipway.runtime.rules.make import NodeRuntimeFieldSet
from slipway.step.rules.build_step import Step
from tests.rules import workspace as stand_ins
from tests.rules.workspace import SHA256, Workspace, make_definition

ARCHIVE = "source of node"
DIGEST = hashlib.sha256(ARCHIVE.encode()).hexdigest()
DEFINITION = f"""
version = "6.3.0"
[source]
file = "node.tar.gz"
sha256 = "{DIGEST}"
patches = ["one.patch"]
configure = ["--without-snapshot"]
python = "python2.7"
"""
BUILD = (
    'node_runtime(name="node", version="6.3.0", definition="source.toml", '
    'toolchain="//toolchains/gcc48")\n'
)


def write(workspace: Workspace, **files: str) -> None:
    sound = {
        "BUILD": BUILD,
        "source.toml": DEFINITION,
        "node.tar.gz": ARCHIVE,
        "one.patch": "+",
        **files,
    }
    workspace.write({f"node/{name}": text for name, text in sound.items()})


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Dict[str, Any]:
    report = {"tests": "failed", "npm": "3.10.3"}
    monkeypatch.setitem(stand_ins._REPORTS, "build.json", report)
    return report


def package(workspace: Workspace) -> BuiltPackage:
    return workspace.request(
        BuiltPackage, NodeRuntimeFieldSet.create(workspace.target("node:node"))
    )


def build_step(workspace: Workspace) -> Step:
    (step,) = workspace.steps("slipway.runtime.programs.build")
    return step


def test_the_archive_that_the_user_put_there_is_built_with_its_patches(
    workspace: Workspace, reports: Dict[str, Any]
) -> None:
    write(workspace)
    made = package(workspace)
    assert [str(one.relpath) for one in made.artifacts] == [
        "node/node/nodejs.tar.gz",
        "node/node/build.log",
    ]
    step = build_step(workspace)
    assert workspace.files(step.inputs) == ("patches/one.patch", "source.archive")
    source = build.PROGRAM.read(step.call.arguments).source
    assert source.configure == ("--without-snapshot",)
    assert source.test == "report"
    assert step.locked.files == ()


def test_where_an_archive_comes_from_is_in_no_key(
    workspace: Workspace, reports: Dict[str, Any]
) -> None:
    place = 'url = "https://mirror.example.com/node.tar.gz"\nsize = 14'
    write(workspace, **{"source.toml": DEFINITION.replace('file = "node.tar.gz"', place)})
    package(workspace)
    step = build_step(workspace)
    assert "mirror.example.com" not in step.call.arguments
    assert [one.sha256 for one in step.locked.files] == [DIGEST]


def test_another_npm_does_not_build_it_again(workspace: Workspace, reports: Dict[str, Any]) -> None:
    npm = make_definition("6.3.0").partition("[npm]")[2]
    write(workspace, **{"source.toml": f"{DEFINITION}[npm]{npm}"})
    package(workspace)
    assert "8.19.4" not in build_step(workspace).call.arguments
    (step,) = workspace.steps("slipway.runtime.programs.replace_npm")
    assert replace_npm.PROGRAM.read(step.call.arguments).npm_version == "8.19.4"
    assert len(step.trees) == 2


REFUSED: Dict[str, Any] = {
    "another archive": (
        {"node.tar.gz": "other"},
        ("has another SHA-256", "in:    node/source.toml: source.sha256"),
    ),
    "no patch": (
        {"source.toml": DEFINITION.replace("one.patch", "two.patch")},
        ("files of the definition", "node/two.patch"),
    ),
    "no toolchain": (
        {"BUILD": BUILD.replace(', toolchain="//toolchains/gcc48"', "")},
        ("is built from source, but has no toolchain", 'toolchain="//toolchains/gcc48"'),
    ),
    "two places": (
        {"source.toml": DEFINITION + 'url = "https://x.example/y"\n'},
        ("needs exactly one of `url`, `file` and `debian`",),
    ),
    "no hash": (
        {"source.toml": DEFINITION.replace(DIGEST, "")},
        ("is not a SHA-256, which every archive needs",),
    ),
    "unknown words": (
        {"source.toml": DEFINITION + 'test = "maybe"\nconfigur = []\n'},
        (
            "source.test: 'maybe' is not one of report, required, skip",
            "source.configur: unknown key; did you mean `configure`?",
        ),
    ),
    "a path that leaves": (
        {"source.toml": DEFINITION.replace("one.patch", "../one.patch")},
        ("'../one.patch' is not below the folder of the definition",),
    ),
    "a binary too": (
        {"source.toml": DEFINITION + f'[binary.linux-x64]\nsha256 = "{SHA256}"\n'},
        ("binary: not allowed together with source",),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_built_is_refused(workspace: Workspace, name: str) -> None:
    files, words = REFUSED[name]
    write(workspace, **files)
    with pytest.raises(Exception, match="source") as caught:
        package(workspace)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not workspace.steps("slipway.runtime.programs.build")
