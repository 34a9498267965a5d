"""The base image of this repository, made from its real packages and entered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from slipway.step.interface import ARGUMENTS
from slipway.toolchain.image_spec import check_lock_is_current, read_image_spec
from slipway.toolchain.programs import assemble
from tests.places import started
from tests.unit.debian.real_packages import BASE, base_lock, fetch_packages

# Everything that a build step may use. A change here changes every build script.
PROGRAMS = [
    "/bin/bash",
    "/bin/sh",
    "/usr/bin/awk",
    "/usr/bin/basename",
    "/usr/bin/cat",
    "/usr/bin/cmp",
    "/usr/bin/cp",
    "/usr/bin/cut",
    "/usr/bin/date",
    "/usr/bin/diff",
    "/usr/bin/dirname",
    "/usr/bin/env",
    "/usr/bin/find",
    "/usr/bin/getconf",
    "/usr/bin/grep",
    "/usr/bin/gzip",
    "/usr/bin/head",
    "/usr/bin/hostname",
    "/usr/bin/iconv",
    "/usr/bin/id",
    "/usr/bin/ldd",
    "/usr/bin/ln",
    "/usr/bin/ls",
    "/usr/bin/mktemp",
    "/usr/bin/mv",
    "/usr/bin/nproc",
    "/usr/bin/ps",
    "/usr/bin/python3",
    "/usr/bin/readlink",
    "/usr/bin/realpath",
    "/usr/bin/rm",
    "/usr/bin/sed",
    "/usr/bin/sha256sum",
    "/usr/bin/sleep",
    "/usr/bin/sort",
    "/usr/bin/tail",
    "/usr/bin/tar",
    "/usr/bin/tr",
    "/usr/bin/uname",
    "/usr/bin/wc",
    "/usr/bin/which",
    "/usr/bin/xargs",
]
NOT_THERE = [
    "apt",
    "apt-get",
    "cc",
    "dpkg",
    "gcc",
    "ld",
    "make",
    "npm",
    "node",
    "perl",
    "pip",
    "su",
    "sudo",
    "passwd",
    "mount",
]
MODULES = [
    "argparse",
    "bz2",
    "concurrent.futures",
    "ctypes",
    "decimal",
    "gzip",
    "hashlib",
    "io",
    "json",
    "lzma",
    "multiprocessing",
    "os",
    "shutil",
    "socket",
    "ssl",
    "stat",
    "struct",
    "subprocess",
    "tarfile",
    "tempfile",
    "threading",
    "unittest",
    "urllib.request",
    "uuid",
    "venv",
    "xml.etree.ElementTree",
    "zipfile",
    "zlib",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the layer, the facts about it, and the layer unpacked."""
    top = tmp_path_factory.mktemp("base")
    fetch_packages(top / assemble.DEBS)
    for name in (assemble.SPEC, assemble.LOCK):
        shutil.copy(BASE / name, top / name)
    (top / "out").mkdir()
    call = assemble.PROGRAM(assemble.Arguments(layer=assemble.Layer()))
    (top / ARGUMENTS).write_text(call.arguments)
    command = [sys.executable, *started(call.program)]
    subprocess.run(command, cwd=top, check=True)
    (top / "root").mkdir()
    subprocess.run(["tar", "-xf", "../out/base.tar"], cwd=top / "root", check=True)
    return top


def facts(base: Path) -> Dict[str, Any]:
    found: Dict[str, Any] = json.loads((base / "out" / "base.json").read_text())
    return found


def inside(base: Path, *command: str) -> str:
    """The output of `command` inside the root; root needs no namespace for this."""
    enter: List[str] = ["chroot", str(base / "root")]
    if os.geteuid() != 0:
        enter = ["unshare", "--map-root-user", *enter]
    done = subprocess.run(
        [*enter, *command],
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_lock_belongs_to_the_spec() -> None:
    text = (BASE / "image.json").read_text()
    spec = read_image_spec(text, "toolchains/base/image.json")
    check_lock_is_current(spec, base_lock(), "packages.lock", next="")


def test_the_image_is_small(base: Path) -> None:
    assert facts(base)["layer_bytes"] < 60_000_000
    assert facts(base)["entries"] < 1500  # each costs time whenever a step enters the root


def test_every_program_that_steps_count_on_is_there_and_starts(base: Path) -> None:
    found = inside(
        base, "sh", "-c", f"for program in {' '.join(PROGRAMS)}; do which $program; done"
    )
    assert found.split() == PROGRAMS


@pytest.mark.parametrize("name", NOT_THERE)
def test_what_a_step_must_not_find_is_not_there(name: str, base: Path) -> None:
    assert inside(base, "sh", "-c", f"which {name} || echo none") == "none\n"


def test_the_python_of_the_image_has_what_layers_are_written_with(base: Path) -> None:
    program = f"import sys, {', '.join(MODULES)}; print(sys.version_info[:2])"
    assert inside(base, "python3", "-I", "-B", "-c", program) == "(3, 9)\n"


def test_users_groups_and_hosts(base: Path) -> None:
    assert inside(base, "id", "build") == "uid=1000(build) gid=1000(build) groups=1000(build)\n"
    assert inside(base, "id", "-un", "65534") == "nobody\n"
    program = "import socket; print(socket.gethostbyname('localhost'))"
    assert inside(base, "python3", "-I", "-B", "-c", program) == "127.0.0.1\n"


def test_text_in_any_script_is_known_as_letters(base: Path) -> None:
    assert inside(base, "sh", "-c", "printf 'é中' | wc -m") == "2\n"
    assert inside(base, "sh", "-c", "printf 'é中' | iconv -t GBK | iconv -f GBK") == "é中"


def test_the_licences_of_the_packages_are_there(base: Path) -> None:
    documents = base / "root" / "usr" / "share" / "doc"
    lacking = [
        package.name
        for package in base_lock().packages
        if not inside(base, "sh", "-c", f"ls -L /usr/share/doc/{package.name}/copyright")
    ]
    assert lacking == []
    assert documents.is_dir()


def test_nothing_in_the_layer_is_compiled_python(base: Path) -> None:
    # Steps run with -B and a read-only root: bytes of a layer never hang on what ran before.
    listing = subprocess.run(
        ["tar", "-tf", str(base / "out" / "base.tar")], capture_output=True, text=True, check=True
    ).stdout
    assert "__pycache__" not in listing
