"""The same bytes on every machine: the extremes of users, folders, settings and libraries at once.

The cold builds are that of the shared caches (root), another user's on another machine, and in
the long tier one for each Python; `test_first_release` compares a build with false tools and a
Python made from Debian's packages. The canary application writes what its build step sees of the
machine into its release, and must come out equal too.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest

from tests.e2e import archives, canary, harness
from tests.e2e.conftest import OtherUser
from tests.e2e.harness import Caches, Workspace
from tests.places import NO_VARIABLES

TARGETS = ("package", "//apps/koa-kkl:release", canary.RELEASE)
OUTPUTS = {"apps.koa-kkl/release": 4, "apps.canary/release": 3}
NPMRC = ("nodedir=/nowhere", "omit=dev", "ignore-scripts=true", "save-prefix=~")
_CLONE_NEWUTS = 0x04000000


@pytest.fixture(scope="module")
def reference(make_workspace: Callable[..., Workspace]) -> Dict[str, Path]:
    """The release of koa-kkl that the shared caches hold, and the canary's, by the same user."""
    clone = make_workspace("canary")
    canary.write(clone)
    clone.pants(*TARGETS).ok()
    return everything(clone)


def outputs(workspace: Workspace, folder: str) -> Dict[str, Path]:
    """Archives first: their difference is shown in words, and a manifest differs because of it."""
    files = sorted(
        workspace.dist(folder).iterdir(), key=lambda path: (path.suffix == ".json", path)
    )
    return {f"{folder}/{path.name}": path for path in files}


def everything(workspace: Workspace) -> Dict[str, Path]:
    found: Dict[str, Path] = {}
    for folder, number in OUTPUTS.items():
        here = outputs(workspace, folder)
        assert len(here) == number, here
        found.update(here)
    return found


def require_equal(reference: Dict[str, Path], found: Dict[str, Path]) -> None:
    assert list(found) == list(reference)
    for name, path in found.items():
        print(archives.sha256(path), name)
        if name.endswith(".tar.gz"):
            assert archives.first_difference(reference[name], path) == "", name
        assert path.read_bytes() == reference[name].read_bytes(), name


# --- Another machine, as far as one machine can be two.


def another_host_with_other_limits() -> None:
    """Runs in the child, as root: a host name of its own, few files, a large stack."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(_CLONE_NEWUTS) == 0
    socket.sethostname("another-host")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 8192))
    resource.setrlimit(
        resource.RLIMIT_STACK, (64 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1])
    )


def generated_locale(folder: Path) -> Dict[str, str]:
    """A Chinese locale that the machine itself does not have."""
    name = "zh_CN.UTF-8"
    folder.mkdir()
    if shutil.which("localedef"):
        command = ["localedef", "--no-archive", "-i", "zh_CN", "-f", "UTF-8", str(folder / name)]
        subprocess.run(command, stderr=subprocess.DEVNULL, check=False, timeout=120)
    return {"LC_ALL": name, "LANG": name, "LOCPATH": str(folder)}


_DEFLATE = """\
#define _GNU_SOURCE
#include <dlfcn.h>
typedef int (*init_t)(void *, int, int, int, int, int, const char *, int);
/* Another deflate: every level is the fastest, and so gives other bytes. */
int deflateInit2_(void *stream, int level, int method, int bits, int memory, int strategy,
                  const char *version, int size) {
  init_t real = (init_t)dlsym(RTLD_NEXT, "deflateInit2_");
  return real(stream, 1, method, bits, 1, strategy, version, size);
}
int deflateInit_(void *stream, int level, const char *version, int size) {
  return deflateInit2_(stream, level, 8, 15, 8, 0, version, size);
}
"""
_COMPRESS = "import sys, zlib; print(zlib.compress(open(sys.argv[1], 'rb').read() * 9, 9).hex())"


def other_deflate_library(folder: Path) -> Dict[str, str]:
    """A library that, preloaded, makes each zlib of the host give other bytes; proven on Python."""
    compiler, python = shutil.which("cc") or shutil.which("gcc"), "/usr/bin/python3"
    if compiler is None or not os.path.exists(python):
        return {}
    (folder / "deflate.c").write_text(_DEFLATE)
    library = folder / "deflate.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, folder / "deflate.c", "-ldl"],
        check=True,
        timeout=60,
    )
    plain, other = (
        subprocess.run(
            [python, "-c", _COMPRESS, __file__],
            env=env,
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
        ).stdout
        for env in (NO_VARIABLES, {"LD_PRELOAD": str(library)})
    )
    assert plain != other
    return {"LD_PRELOAD": str(library)}


@pytest.mark.long
def test_another_user_on_another_machine(
    reference: Dict[str, Path],
    other_user: OtherUser,
    scratch: Path,
    tools: str,
    request: pytest.FixtureRequest,
) -> None:
    """A plain user in a folder with blanks and other letters, umask 077, one core, a daemon, a
    Chinese locale and time zone, another deflate library, and a `.npmrc` full of settings."""
    temporary = scratch / "a temporary folder"
    temporary.mkdir()
    temporary.chmod(0o777)
    clone = Workspace.make(
        scratch / "克隆 of nobody" / "über tief" / "slipway",
        Caches(scratch / "caches of nobody", other_user.runner),
        tools,
        owner=other_user.user,
        umask=0o077,
        daemon=True,
        prepare=another_host_with_other_limits,
        env={
            **generated_locale(scratch / "locales"),
            **other_deflate_library(scratch),
            "TZ": "Asia/Shanghai",
            "TMPDIR": str(temporary),
            "SERVER_ENV": "sit",
            "NODE_ENV": "development",
            "NODE_OPTIONS": "--require=/nowhere/to/be/found.js",
            "npm_config_omit": "dev",
            "SOURCE_DATE_EPOCH": "1",
            "PYTHONHASHSEED": "7",
        },
    )
    # Another file system than the store's, where there is one: Pants must copy what it would link.
    memory = Path(tempfile.mkdtemp(dir="/dev/shm")) if os.access("/dev/shm", os.W_OK) else temporary
    memory.chmod(0o777)
    request.addfinalizer(lambda: harness.remove(memory))
    clone.env["PANTS_LOCAL_EXECUTION_ROOT_DIR"] = str(memory)
    clone.write_npmrc(*NPMRC)
    canary.write(clone)
    clone.give_to_owner()
    with clone:
        result = clone.pants(*TARGETS, before=("taskset", "--cpu-list", "0")).ok()
        assert clone.daemon_pid() is not None
        assert installs(result.counts.ran) == 2
        require_equal(reference, everything(clone))
        # Warm: by the same daemon, into an empty folder, and without the daemon.
        for daemon in (True, False):
            harness.remove(clone.dist())
            clone.daemon = daemon
            assert clone.pants(*TARGETS).ok().counts.ran == []
            require_equal(reference, everything(clone))


def installs(ran: List[str]) -> int:
    return len([one for one in ran if one.startswith("Install ")])


@pytest.mark.long
@pytest.mark.parametrize("python", ["python3.7", "python3.8", "python3.9"])
def test_another_python_runs_pants(
    python: str, reference: Dict[str, Path], make_workspace: Callable[..., Workspace], scratch: Path
) -> None:
    """Root, the plain C locale, umask 077, no daemon, and each Python that Pants can run on."""
    interpreter = installed_python(python)
    if interpreter is None:
        pytest.skip(f"this machine has no {python}")
    clone = make_workspace(
        "python",
        caches=Caches(scratch / "caches"),
        umask=0o077,
        env={"LC_ALL": "C", "TZ": "UTC", "SLIPWAY_PYTHON": interpreter},
    )
    canary.write(clone)
    result = clone.pants(*TARGETS).ok()
    assert installs(result.counts.ran) == 2
    require_equal(reference, everything(clone))


def installed_python(name: str) -> Optional[str]:
    places = [*os.environ.get("PATH", "").split(":"), os.path.dirname(sys.executable)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places.extend(str(folder) for folder in pyenv.glob(f"{name[len('python') :]}.*/bin"))
    for place in places:
        program = Path(place, name)
        if program.exists() and "shims" not in place:
            return str(program)
    return None


@pytest.mark.long
def test_canary_saw_a_closed_world(reference: Dict[str, Path]) -> None:
    """What a step sees is what its environment says, and nothing of this machine."""
    release = reference["apps.canary/release/canary-1.0.0-prod.tar.gz"]
    with tarfile.open(release, "r:gz") as tar:
        file = tar.extractfile("dist/seen.json")
        assert file is not None
        text = file.read().decode()
    seen: Dict[str, Any] = json.loads(text)
    assert seen["cwd"] == "/build/app"
    assert seen["host"][0] == "build"
    assert seen["ids"] == [1000] * 4
    assert seen["umask"] == 0o022
    assert seen["network"] == ["lo"]
    for secret in (str(Path.home()) + "/", str(harness.REPOSITORY)):
        assert secret not in text
    # As a word: a short name, "vm" say, is part of others.
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)


def test_difference_is_named(scratch: Path) -> None:
    """The helper of this file: layer, member, first byte."""
    one, other = scratch / "one.tar.gz", scratch / "other.tar.gz"
    for path, text in ((one, "the same but here"), (other, "the same but HERE")):
        (scratch / "file").write_text(text)
        with tarfile.open(path, "w:gz") as tar:
            info = tar.gettarinfo(str(scratch / "file"), "service/file")
            info.mtime = 0
            with open(scratch / "file", "rb") as file:
                tar.addfile(info, file)
    said = archives.first_difference(one, other)
    assert "member service/file: byte 13:" in said
