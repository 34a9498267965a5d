"""Native addons, compiled in the toolchain for old hosts, loaded and used in the release."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from build_rules.lib import fetch_lock
from tests.e2e.harness import Workspace

HERE = Path(__file__).parent / "addons"
LOCAL = ("hello", "napi", "nan-words")
CEILINGS = {
    "GLIBC": (2, 17),
    "GLIBCXX": (3, 4, 19),
    "CXXABI": (1, 3, 7),
    "GCC": (4, 8, 0),
}
RUNTIMES = {
    "node16": ("16.20.2", ["bcrypt", "hello", "nan-words", "napi"]),
    "node6": ("6.3.0", ["bcrypt", "hello", "nan-words"]),
}


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("addons", daemon=True)


def pack(name: str) -> bytes:
    """An addon's folder as npm packs it, the same bytes each time on one machine."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted((HERE / name).iterdir()):
            info = tarfile.TarInfo(f"package/{path.name}")
            info.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(info, file)
    return gzip.compress(packed.getvalue(), mtime=0)


def write_app(workspace: Workspace, kind: str, **changed: Callable[[str], str]) -> str:
    """The application of a runtime; `changed` edits files of it. Gives its release's address."""
    version, names = RUNTIMES[kind]
    folder = workspace.root / "apps" / kind
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / kind, folder)
    lock = (folder / "package-lock.json").read_text()
    for name in LOCAL:
        content = pack(name)
        (folder / f"{name}-1.0.0.tgz").write_bytes(content)
        integrity = base64.b64encode(hashlib.sha512(content).digest()).decode()
        lock = lock.replace(f"@{name}@", f"sha512-{integrity}")
    (folder / "package-lock.json").write_text(lock)
    (folder / "service").mkdir()
    shutil.copyfile(HERE / "smoke.js", folder / "service" / "smoke.js")
    (folder / "BUILD").write_text(
        f'node_app_bundle(name="bundle", runtime="//toolchains/node:{version}", build_script="",'
        f' build_outputs=[], static_dir="", install_scripts={json.dumps(dict.fromkeys(names, "source"))})\n'
        'release_tarball(name="release", bundle=":bundle", static="none", smoke_script="smoke")\n'
    )
    for name, change in changed.items():
        path = folder / name
        path.write_text(change(path.read_text()))
    return f"//apps/{kind}:release"


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
    have_only(folder, "too-new")
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


def have_only(folder: Path, name: str) -> None:
    """Makes one local package all that the application depends on."""
    content = pack(name)
    (folder / f"{name}-1.0.0.tgz").write_bytes(content)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    spec = f"file:{name}-1.0.0.tgz"
    manifest = json.loads((folder / "package.json").read_text())
    manifest["dependencies"] = {name: spec}
    (folder / "package.json").write_text(json.dumps(manifest))
    lock = {
        "name": "addons",
        "version": "1.0.0",
        "lockfileVersion": 3,
        "packages": {
            "": {"name": "addons", "version": "1.0.0", "dependencies": {name: spec}},
            f"node_modules/{name}": {"version": "1.0.0", "resolved": spec, "integrity": integrity},
        },
    }
    (folder / "package-lock.json").write_text(json.dumps(lock, indent=2))
    (folder / "npm-fetch.lock").write_text(
        fetch_lock.render([], fetch_lock.renew_command("apps/node16/package-lock.json"))
    )
    build = (folder / "BUILD").read_text()
    names = json.dumps(dict.fromkeys(RUNTIMES["node16"][1], "source"))
    (folder / "BUILD").write_text(build.replace(names, json.dumps({name: "source"})))


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
