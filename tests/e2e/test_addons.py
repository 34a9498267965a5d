"""Native addons, compiled in the toolchain for old hosts, loaded and used in the release."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.e2e.addon_app import HERE, LOCAL, RUNTIMES, have_only, pack, write_app
from tests.e2e.harness import Workspace

CEILINGS = {
    "GLIBC": (2, 17),
    "GLIBCXX": (3, 4, 19),
    "CXXABI": (1, 3, 7),
    "GCC": (4, 8, 0),
}


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("addons", daemon=True)


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
    "opened.node (too-new@1.0.0): may open libcuda.so.1 when it runs",
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

CUT_OFF = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def write_as_it_is(workspace: Workspace, name: str) -> str:
    """An application that is kept whole: `four` compiles four packages, `thumbs` carries sharp."""
    folder = workspace.root / "apps" / name
    shutil.copytree(HERE / name, folder)
    (folder / "targets.txt").rename(folder / "BUILD")
    return f"//apps/{name}:release"


@pytest.mark.long
def test_without_a_network_the_same_is_built_of_what_was_fetched(
    workspace: Workspace, tools: str, scratch: Path
) -> None:
    release = write_as_it_is(workspace, "four")
    said = workspace.pants("package", release).ok()
    assert sorted(one for one in said.counts.ran if one.startswith("Compile ")) == [
        f"Compile {name} for Node.js 16.20.2"
        for name in ("argon2@0.31.2", "bcrypt@5.1.1", "nodejieba@2.5.2", "sqlite3@5.1.7")
    ]
    assert_fits_old_hosts(audit(workspace, release), ["argon2", "bcrypt", "nodejieba", "sqlite3"])
    made = {path.name: path.read_bytes() for path in workspace.dist("apps.four/release").iterdir()}
    caches = workspace.caches.fresh(scratch / "caches")
    shutil.copytree(
        workspace.caches.named / "slipway_downloads", caches.named / "slipway_downloads"
    )
    with Workspace.make(scratch / "clone", caches, tools) as other:
        write_as_it_is(other, "four")
        again = other.pants("package", release, before=CUT_OFF, timeout=900).ok()
        assert any(one.startswith("Compile ") for one in again.counts.ran)
        there = other.dist("apps.four/release").iterdir()
        assert {path.name: path.read_bytes() for path in there} == made


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
    assert "of version GLIBC_2.25; the newest there is GLIBC_2.17" in said.output
