"""Native addons, compiled in the toolchain for old hosts, loaded and used in the release."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.e2e import harness
from tests.e2e.addon_app import (
    HERE,
    LOCAL,
    RUNTIMES,
    decide,
    have_only,
    pack,
    pack_binary,
    read_member,
    write_app,
)
from tests.e2e.conftest import OtherUser
from tests.e2e.harness import Caches, Workspace
from tests.unit.registry_stub import Registry

CEILINGS = {
    "GLIBC": (2, 17),
    "GLIBCXX": (3, 4, 19),
    "CXXABI": (1, 3, 7),
    "GCC": (4, 8, 0),
}


@pytest.fixture(scope="module")
def workspace(shared_clone: Workspace) -> Workspace:
    return shared_clone


def audit(workspace: Workspace, release: str) -> List[Dict[str, Any]]:
    said = workspace.pants("abi-audit", "--format=json", release).ok()
    (found,) = json.loads(said.stdout).values()
    return list(found)


def numbers(version: str) -> Any:
    return tuple(int(part) for part in version.rpartition("_")[2].split("."))


def assert_fits_old_hosts(files: List[Dict[str, Any]], names: List[str]) -> None:
    # The npm of Node 6 carries programs for other systems.
    assert {one["about"] for one in files if one["verdict"] != "fits"} <= {"Windows", "macOS"}
    assert {one["package"].rpartition("@")[0] for one in files if one["package"]} == set(names)
    for one in files:
        for namespace, version in one["highest"].items():
            assert numbers(version) <= CEILINGS[namespace], one


@pytest.mark.parametrize("kind", ["node16", pytest.param("node6", marks=pytest.mark.long)])
def test_addons_are_compiled_audited_loaded_and_used(workspace: Workspace, kind: str) -> None:
    release = write_app(workspace, kind)
    names = RUNTIMES[kind][1]
    said = workspace.pants("package", release).ok()
    assert sorted(one for one in said.counts.ran if one.startswith("Compile ")) == sorted(
        f"Compile {name}@{version} for Node.js {RUNTIMES[kind][0]}"
        for name, version in versions(workspace, kind).items()
    )
    assert_fits_old_hosts(audit(workspace, release), names)
    again = workspace.pants("package", release).ok()
    assert again.counts.ran == []


def versions(workspace: Workspace, kind: str) -> Dict[str, str]:
    manifest = json.loads((workspace.root / "apps" / kind / "package.json").read_text())
    return {
        name: "1.0.0" if name in LOCAL else version
        for name, version in manifest["dependencies"].items()
    }


TOO_NEW = (
    "getentropy.node (too-new@1.0.0): needs getentropy, which no library of the oldest host has",
    "getrandom.node (too-new@1.0.0): needs getrandom, which no library of the oldest host has",
    "reallocarray.node (too-new@1.0.0): needs reallocarray, which no library of the oldest host",
    "cxx11_string.node (too-new@1.0.0): needs _ZN2v86String3NewERKNSt7__cxx11",
    "opened.node (too-new@1.0.0): may load libcuda.so.1 at run time",
    "service/tools.zip!/bin/tool: needs ",
)


def test_what_would_not_load_on_an_old_host_is_refused_all_at_once_unless_waived(
    workspace: Workspace,
) -> None:
    release = write_app(workspace, "node16")
    folder = workspace.root / "apps" / "node16"
    have_only(folder, {"too-new": pack("too-new")})
    with zipfile.ZipFile(folder / "service" / "tools.zip", "w") as archive:
        archive.write(os.path.realpath(sys.executable), "bin/tool")
    shutil.rmtree(workspace.dist(), ignore_errors=True)
    said = workspace.pants("package", release).failed()
    for line in TOO_NEW:
        assert line in said.output, said.output
    assert 'abi_waivers={"' in said.output
    assert "Traceback" not in said.output
    assert not workspace.dist("apps.node16/release").exists()

    waivers = {"too-new@1.0.0": "loaded by nobody", "service/tools.zip": "for new hosts"}
    build = folder / "BUILD"
    text = build.read_text().replace('smoke_script="smoke"', f"abi_waivers={json.dumps(waivers)}")
    build.write_text(text)
    workspace.pants("package", release).ok()
    manifest = workspace.dist("apps.node16/release/addons-1.0.0-prod.release.json")
    waived = json.loads(manifest.read_text())["abi"]["waived"]
    assert {one["reason"] for one in waived} == set(waivers.values())
    assert len(waived) == len(TOO_NEW)


@pytest.mark.long
def test_an_edit_of_the_lock_elsewhere_compiles_nothing_again(workspace: Workspace) -> None:
    release = write_app(workspace, "node16")
    workspace.pants("package", release).ok()
    without = {
        "package.json": lambda text: text.replace(',\n    "napi": "file:napi-1.0.0.tgz"', ""),
        "package-lock.json": without_napi,
        "BUILD": lambda text: text.replace(', "napi": "source"', ""),
    }
    release = write_app(workspace, "node16", **without)
    said = workspace.pants("package", release).ok()
    assert any(one.startswith("Install ") for one in said.counts.ran)
    assert not [one for one in said.counts.ran if one.startswith("Compile ")]


def without_napi(text: str) -> str:
    lock = json.loads(text)
    del lock["packages"]["node_modules/napi"], lock["packages"][""]["dependencies"]["napi"]
    return json.dumps(lock, indent=2)


# --- The network cut off.

FOUR = ["argon2", "bcrypt", "nodejieba", "sqlite3"]
CUT_OFF = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def write_as_it_is(workspace: Workspace, name: str) -> str:
    """An application that is kept whole: `four` compiles four packages, `thumbs` carries sharp."""
    folder = workspace.root / "apps" / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / name, folder)
    (folder / "targets.txt").rename(folder / "BUILD")
    return f"//apps/{name}:release"


@pytest.mark.long
def test_without_a_network_the_same_is_built_of_what_was_fetched(
    workspace: Workspace, tools: str, scratch: Path
) -> None:
    places = ("apps.four/release", "apps.node6/release", "examples.native-addon/release")
    releases = write_all(workspace)
    said = workspace.pants("package", *releases).ok()
    compiled = {one for one in said.counts.ran if one.startswith("Compile ")}
    for name in ("argon2@0.31.2", "bcrypt@5.1.1", "nodejieba@2.5.2", "sqlite3@5.1.7"):
        assert f"Compile {name} for Node.js 16.20.2" in compiled
    assert_fits_old_hosts(audit(workspace, releases[0]), FOUR)
    assert_fits_old_hosts(audit(workspace, releases[1]), RUNTIMES["node6"][1])
    own = ("bcrypt", "hello", "sqlite3", "sum", "words")
    assert_fits_old_hosts(audit(workspace, releases[2]), list(own))
    made = {place: contents(workspace, place) for place in places}
    caches = workspace.caches.fresh(scratch / "caches")
    shutil.copytree(
        workspace.caches.named / "slipway_downloads", caches.named / "slipway_downloads"
    )
    with Workspace.make(scratch / "clone", caches, tools) as other:
        write_all(other)
        again = other.pants("package", *releases, before=CUT_OFF, timeout=1200).ok()
        assert compiled <= set(again.counts.ran)
        assert {place: contents(other, place) for place in places} == made


def write_all(workspace: Workspace) -> List[str]:
    """What documents 3 and 4 are about, for Node 16.20.2 and 6.3.0."""
    return [
        write_as_it_is(workspace, "four"),
        write_app(workspace, "node6"),
        "//examples/native-addon:release",
    ]


def contents(workspace: Workspace, place: str) -> Dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workspace.dist(place).iterdir()}


@pytest.mark.long
def test_another_folder_user_and_umask_give_the_same_addons(
    workspace: Workspace, other_user: OtherUser, tools: str, scratch: Path
) -> None:
    places = ("apps.node16/release", "apps.node6/release")
    releases = [write_app(workspace, kind) for kind in ("node16", "node6")]
    workspace.pants("package", *releases).ok()
    expected = {place: contents(workspace, place) for place in places}
    other = Workspace.make(
        scratch / "another folder" / "of nobody" / "clone",
        Caches(scratch / "caches", other_user.runner),
        tools,
        owner=other_user.user,
        umask=0o077,
    )
    with other:
        for kind in ("node16", "node6"):
            write_app(other, kind)
        harness.own(other.root, other_user.user)
        said = other.pants("package", *releases, timeout=1200).ok()
        assert len([one for one in said.counts.ran if one.startswith("Compile ")]) == 7
        assert {place: contents(other, place) for place in places} == expected


# --- Binaries that somebody has compiled: by the dialects of prebuild-install and node-pre-gyp.

PREBUILT = {
    "sqlite3": ("node_modules/sqlite3/build/Release/node_sqlite3.node", "build/Release/"),
    "nodejieba": ("node_modules/nodejieba/build/Release/nodejieba.node", "Release/"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", PREBUILT)
def test_what_was_compiled_here_is_taken_as_a_prebuilt_binary_there(
    workspace: Workspace, mirror: Registry, name: str
) -> None:
    path, packed_in = PREBUILT[name]
    release = write_as_it_is(workspace, "four")
    bundle = release.replace(":release", ":bundle")
    folder = workspace.root / "apps" / "four"
    workspace.pants("package", release).ok()
    compiled = read_member(workspace, "apps.four/release", path)
    decide(folder, {**dict.fromkeys(FOUR, "source"), name: "prebuilt"})

    said = workspace.pants("package", release).failed()
    asked = re.search(r"found: +1?\.? ?(\S+), from the mirror in npm_config_(\S+)", said.output)
    assert asked is not None, said.output
    wanted, variable = asked.groups()
    packed = pack_binary(packed_in + Path(path).name, compiled)
    mirror.files[f"/here/{wanted}"] = packed
    workspace.write_npmrc(f"{variable}={mirror.url}here")
    added = workspace.pants("install-scripts", f"--pin={name}", bundle).ok()
    workspace.write_npmrc()
    sha256 = hashlib.sha256(packed).hexdigest()
    assert f" {sha256} {len(packed)} npm_config_{variable} {wanted}" in (
        (folder / "npm-fetch.lock").read_text()
    )
    # The package's own install script took the binary. The layer and the release have the same bytes
    # as after a compilation, and the smoke script has run.
    assert any(one.startswith(f"Compile {name}@") for one in added.counts.ran)
    said = workspace.pants("package", release).ok()
    assert not any(one.startswith(("Compile ", "Smoke-test ")) for one in said.counts.ran)
    assert read_member(workspace, "apps.four/release", path) == compiled
    listed = json.loads(contents(workspace, "apps.four/release")["native-1.0.0-prod.native.json"])
    assert {one["how"] for one in listed["files"] if one["path"] == path} == {"prebuilt"}


# --- Addons that the workspace keeps itself.

ARCHIVES = {
    "hello": ["hello-v1.0.0-node-v48-linux-x64.tar.gz", "hello-v1.0.0-node-v93-linux-x64.tar.gz"],
    "words": ["words-v1.0.0-node-v48-linux-x64.tar.gz", "words-v1.0.0-node-v93-linux-x64.tar.gz"],
    "sum": ["sum-v1.0.0-node-v93-linux-x64.tar.gz"],
}


@pytest.mark.long
def test_an_addon_by_itself_is_compiled_and_tried_for_each_node(workspace: Workspace) -> None:
    folder = "examples/native-addon/addons"
    workspace.pants("package", *(f"//{folder}/{name}" for name in ARCHIVES)).ok()
    for name, archives in ARCHIVES.items():
        place = workspace.dist(f"{folder.replace('/', '.')}.{name}/{name}")
        assert sorted(path.name for path in place.iterdir()) == archives
        with tarfile.open(place / archives[0]) as tar:
            files = [one.name for one in tar if one.isfile()]
        assert files == [f"build/Release/{'hello_world' if name == 'hello' else name}.node"]


@pytest.mark.long
def test_an_addon_that_fails_its_test_is_told(workspace: Workspace) -> None:
    source = workspace.root / "examples" / "native-addon" / "addons" / "hello"
    folder = workspace.root / "apps" / "greets"
    shutil.copytree(source, folder)
    text = (folder / "hello_world.cc").read_text()
    (folder / "hello_world.cc").write_text(text.replace('"world"', '"moon"'))
    said = workspace.pants("package", "//apps/greets").failed()
    assert 'the script "test" of "hello@1.0.0" failed' in said.output
    assert "apps/greets:greets, field test_script" in said.output
    assert "'moon'" in said.output

    (folder / "hello_world.cc").write_text(text.replace("#include <string>", "#include <strong>"))
    said = workspace.pants("package", "//apps/greets").failed()
    assert "strong: No such file or directory" in said.output
    (folder / "binding.gyp").unlink()
    said = workspace.pants("package", "//apps/greets").failed()
    assert 'the addon "hello@1.0.0" has nothing to compile' in said.output
    assert "Traceback" not in said.output


def test_the_list_of_binaries_says_who_made_them_and_by_what(workspace: Workspace) -> None:
    release = write_app(workspace, "node16")
    workspace.pants("package", release).ok()
    listed = workspace.dist("apps.node16/release/addons-1.0.0-prod.native.json")
    files = {one["path"]: one for one in json.loads(listed.read_text())["files"]}
    hello = files["node_modules/hello/build/Release/hello_world.node"]
    assert (hello["how"], hello["package"]) == ("compiled", "hello@1.0.0")
    assert hello["toolchain"] == "toolchains/gcc48:gcc48"
    assert any(one.startswith("GCC: (Debian 10.") for one in hello["compilers"])
    assert all(len(one["sha256"]) == 64 for one in files.values())
    assert files["node_runtime/bin/node"]["how"] == "carried"


@pytest.mark.long
def test_a_package_that_only_brings_binaries_for_newer_hosts_is_refused(
    workspace: Workspace,
) -> None:
    said = workspace.pants("package", write_as_it_is(workspace, "thumbs")).failed()
    assert "libvips-cpp.so.42 (@img/sharp-libvips-linux-x64@1.0.4): needs getrandom" in said.output
    assert "of version GLIBC_2.25; the oldest host has up to GLIBC_2.17" in said.output
