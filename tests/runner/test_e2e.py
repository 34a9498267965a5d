"""The real Pants: what stand-ins cannot show.

The quick tier has a copy of the Pants that runs these tests, where there is one; a test of another
folder, `test_first_release`, installs it from the real index.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import pytest

from tests import installed_pants
from tests.installed_pants import PYTHON
from tests.runner.terminals import FILE, PIPE, TERMINAL, run_printing_to
from tests.runner.workbench import (
    NETWORK,
    REPOSITORY,
    add_program,
    newer_python,
    wait_until,
)

pytestmark = pytest.mark.e2e

NOBODY = 65534
FAKES = ("python3", "tar", "gzip", "sed", "find")
SYSTEM = "/usr/local/bin:/usr/bin:/bin"


@dataclass
class Real:
    """A copy of the repository's runner, its cache, and workspaces beside it."""

    folder: Path
    path: str
    user: int = 0

    @classmethod
    def make(cls, folder: Path, path: str, user: int = 0) -> Real:
        real = cls(folder, path, user)
        for part in (
            "pants",
            "build_rules/slipway/__init__.py",
            "build_rules/slipway/runner",
            "build_rules/slipway/step/programs/launch.py",
            "3rdparty",
        ):
            source, target = REPOSITORY / part, folder / "slipway" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(str(source), str(target), ignore=lambda *_: ["__pycache__"])
            else:
                shutil.copy2(str(source), str(target))
        for name in ("home", "cache"):
            (folder / name).mkdir()
        real.give_away()
        return real

    @property
    def cache(self) -> Path:
        return self.folder / "cache" / "slipway"

    @property
    def environ(self) -> Dict[str, str]:
        return {
            **NETWORK,
            "HOME": str(self.folder / "home"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "PATH": self.path,
        }

    def workspace(self, name: str, files: Dict[str, str], settings: str = "") -> Path:
        root = self.folder / name
        for path, text in {
            "pants.toml": '[GLOBAL]\npants_version = "2.17.1"\npythonpath = ["%(buildroot)s"]\n'
            "[anonymous-telemetry]\nenabled = false\n" + settings,
            **files,
        }.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        self.give_away()
        return root

    def give_away(self) -> None:
        if self.user:
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(str(path), self.user, self.user, follow_symlinks=False)

    def run(self, cwd: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        def become_user() -> None:
            if self.user:
                os.setgroups([])
                os.setgid(self.user)
                os.setuid(self.user)

        return subprocess.run(
            [str(self.folder / "slipway/pants"), *arguments],
            cwd=str(cwd),
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            preexec_fn=become_user,
        )

    def daemon(self, workspace: Path) -> Optional[int]:
        for file in workspace.glob(".pids/*/pantsd/pid"):
            pid = int(file.read_text())
            # The system uses numbers of processes again: a daemon shows its workspace.
            if is_daemon(pid, workspace):
                return pid
        return None

    def stop(self, workspace: Path) -> None:
        pid = self.daemon(workspace)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_daemon(pid or 0, workspace))


def is_daemon(pid: int, workspace: Path) -> bool:
    try:
        name = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return name.startswith(b"pantsd [%s]" % os.fsencode(str(workspace)))


def is_free(lock: Path) -> bool:
    with open(str(lock), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    folder = tmp_path_factory.mktemp("real")
    programs = folder / "programs"
    programs.mkdir()
    (programs / "python3.9").symlink_to(PYTHON)
    made = Real.make(folder, f"{programs}:{SYSTEM}")
    installed_pants.copy_to(folder / "cache")
    yield made
    for pids in folder.glob("*/.pids"):
        made.stop(pids.parent)


FILES = {
    "BUILD": 'files(name="data", sources=["*.txt"])\n',
    "a.txt": "a",
    "sub dir/BUILD": 'files(name="näher", sources=["*.txt"])\n',
    "sub dir/b.txt": "b",
}


@pytest.mark.parametrize(
    "name", [pytest.param("plain", marks=pytest.mark.long), "with space 工作区 ü"]
)
@pytest.mark.parametrize("locale", ["C.UTF-8", pytest.param("C", marks=pytest.mark.long)])
def test_pants_works(real: Real, name: str, locale: str) -> None:
    workspace = real.workspace(name, FILES)
    for folder in (workspace, workspace / "sub dir"):
        for options in ((), (), ("--no-pantsd",)):
            done = real.run(folder, *options, "list", "//::", LC_ALL=locale)
            assert done.returncode == 0, done.stderr
            listed = done.stdout.splitlines()
            assert "//:data" in listed
            assert "sub dir:näher" in listed
            assert "sub dir/b.txt:näher" in listed


@pytest.mark.parametrize(
    "options", [(), pytest.param(("--no-pantsd",), marks=pytest.mark.long)], ids=["daemon", "none"]
)
def test_version_help_and_status(real: Real, options: Tuple[str, ...]) -> None:
    workspace = real.workspace("status", FILES)
    version = real.run(workspace, *options, "--version")
    assert (version.returncode, version.stdout) == (0, "2.17.1\n")
    assert "Usage:" in real.run(workspace, *options, "--help").stdout
    assert real.run(workspace, *options, "list", "//:missing").returncode == 1
    unknown = real.run(workspace, *options, "--no-such-flag", "list", "::")
    assert unknown.returncode == 1
    assert "no-such-flag" in unknown.stdout + unknown.stderr


def test_a_start_without_plugins_builds_one_rule_graph(real: Real) -> None:
    """Each graph begins with the same line; that of Pants' Python backend takes most of a start."""
    workspace = real.workspace("graphs", FILES)
    traced = real.run(workspace, "--no-pantsd", "-ltrace", "list", "::")
    assert traced.returncode == 0
    assert traced.stderr.count("initial_polymorphic iteration 1000:") == 1


@pytest.mark.long
def test_a_plugin_that_is_named_is_installed_and_loaded(real: Real) -> None:
    workspace = real.workspace("plugin", FILES)
    plugins = "--plugins=['ansicolors==1.1.8']"
    ran = real.run(workspace, "--no-pantsd", plugins, "-ldebug", "list", "::")
    assert ran.returncode == 0
    assert "Resolving plugins: ansicolors==1.1.8" in ran.stderr


def test_a_warm_run_goes_to_the_daemon_and_starts_no_python(real: Real) -> None:
    workspace = real.workspace("daemon", FILES)
    assert real.run(workspace, "list", "::").returncode == 0
    pid = real.daemon(workspace)
    (server,) = real.cache.glob("environments/*/bin/pants-server")
    text = server.read_text()
    server.write_text("#!/bin/sh\nexit 99\n")
    try:
        warm = real.run(workspace, "list", "::")
        assert (warm.returncode, warm.stderr) == (0, "")
        assert real.run(workspace, "--no-pantsd", "list", "::").returncode == 99
    finally:
        server.write_text(text)
    assert real.daemon(workspace) == pid


PLACES = {
    "terminal": (TERMINAL, TERMINAL),
    "pipe": (PIPE, PIPE),
    "file": (FILE, FILE),
    "output in a pipe": (PIPE, TERMINAL),
    "errors in a file": (TERMINAL, FILE),
}
ARCHIVE = {
    "BUILD": 'files(name="data", sources=["a.txt"])\n'
    'archive(name="a", format="tar", files=[":data"])\n',
    "a.txt": "a",
}


@pytest.mark.parametrize("first", ["terminal", pytest.param("pipe", marks=pytest.mark.long)])
def test_output_is_complete_whatever_the_daemon_s_first_client_was(real: Real, first: str) -> None:
    """`archive` is a target of Pants itself; Pants logs a line when it is packaged."""
    workspace = real.workspace(f"first {first}", ARCHIVE)
    command = [str(real.folder / "slipway/pants"), "package", "//:a"]
    pids = set()
    for place in (first, *PLACES):
        printed = run_printing_to(*PLACES[place], command, workspace, real.environ)
        assert printed.status == 0, printed.text
        assert printed.text.count("[INFO] Wrote dist/a.tar") == 1, (place, printed.text)
        assert not printed.has_dynamic_ui or PLACES[place][1] == TERMINAL, place
        pids.add(real.daemon(workspace))
    assert len(pids) == 1
    real.stop(workspace)


@pytest.mark.long
def test_the_daemon_holds_the_folder_and_a_killed_one_is_swept(real: Real) -> None:
    workspace = real.workspace("sweep", FILES)
    assert real.run(workspace, "list", "::").returncode == 0
    (lock,) = [
        path
        for path in real.cache.glob("run/*/.slipway-lock")
        if path.read_text() == str(workspace)
    ]
    first = {path.name for path in lock.parent.glob("immutable_inputs*")}
    assert first
    # While it lives, a run without a daemon beside it removes nothing.
    assert real.run(workspace, "--no-pantsd", "list", "::").returncode == 0
    assert first <= {path.name for path in lock.parent.iterdir()}
    real.stop(workspace)
    # The kernel gives a killed process' lock up when its last thread has ended, a moment later.
    wait_until(lambda: is_free(lock))
    assert first <= {path.name for path in lock.parent.iterdir()}
    assert real.run(workspace, "list", "::").returncode == 0
    assert not first & {path.name for path in lock.parent.iterdir()}


def test_all_that_pants_needs_is_in_the_lock(real: Real) -> None:
    workspace = real.workspace("plain", FILES)
    assert real.run(workspace, "--version").returncode == 0
    (environment,) = real.cache.glob("environments/*")
    code = "import pkg_resources; pkg_resources.require(['pantsbuild.pants', 'pex'])"
    subprocess.run([str(environment / "bin/python"), "-I", "-c", code], check=True)
    # One pex program, whatever interpreter has made it.
    (stamp,) = real.cache.glob("workspaces/**/plain/.runner-stamp")
    assert (
        '["v2.1.137|linux_x86_64|'
        '07389e0f8902357d8b92bc6bb257dbfb0ea6319d8067eba752a464a2ed645612|11522824"]'
    ) in stamp.read_text().splitlines()


TESTS = {
    "3rdparty/python/BUILD": 'python_requirements(name="test", source="test.lock", resolve="test")',
    "lib/BUILD": "python_sources()\n",
    "lib/__init__.py": "",
    "lib/one.py": "def one() -> int:\n    return 1\n",
    "tests/BUILD": "python_tests()\n",
    "tests/test_good.py": "from hypothesis import given, strategies as st\n"
    "from pants.testutil.rule_runner import RuleRunner\n"
    "from lib.one import one\n\n"
    "@given(st.integers())\n"
    "def test_more(number):\n    assert number + one() > number\n\n"
    "def test_engine():\n    assert RuleRunner(rules=[]).build_root\n",
    "tests/test_bad.py": "from lib.one import one\n\ndef test_bad():\n    assert one() == 2\n",
}


def assert_tests_run(real: Real, workspace: Path) -> None:
    done = real.run(workspace, "test", "::")
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "tests/test_good.py succeeded" in said
    assert "tests/test_bad.py failed" in said
    assert "assert 1 == 2" in said
    assert real.run(workspace, "test", "tests/test_good.py").returncode == 0


@pytest.mark.long
def test_pants_test_with_the_settings_of_this_repository(real: Real) -> None:
    text = (REPOSITORY / "pants.toml").read_text()
    lock = (REPOSITORY / "3rdparty/python/test.lock").read_text()
    workspace = real.workspace("tests", {**TESTS, "3rdparty/python/test.lock": lock})
    (workspace / "pants.toml").write_text(text.replace('"slipway", ', ""))
    assert_tests_run(real, workspace)


@pytest.mark.long
def test_only_a_newer_python_fakes_on_path_and_a_plain_user() -> None:
    """Without root, without a suitable Python, and with a wrong PATH."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    newer_python()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        fakes: List[Path] = [add_program(folder / "fakes" / name, "exit 1") for name in FAKES]
        plain = Real.make(folder, f"{fakes[0].parent}:/usr/bin:/bin", NOBODY)
        lock = (REPOSITORY / "3rdparty/python/test.lock").read_text()
        text = (REPOSITORY / "pants.toml").read_text().replace('"slipway", ', "")
        workspace = plain.workspace("tests", {**TESTS, "3rdparty/python/test.lock": lock})
        (workspace / "pants.toml").write_text(text)
        try:
            first = plain.run(workspace, "--version")
            assert first.stdout == "2.17.1\n", first.stderr
            assert (
                "making a CPython 3.9 from packages of Debian 11 (once, 10.3 MB) …" in first.stderr
            )
            (python,) = plain.cache.glob("python/*/usr/bin/python3.9")
            assert_tests_run(plain, workspace)
        finally:
            plain.stop(workspace)
        modules = "bz2, ctypes, decimal, hashlib, lzma, sqlite3, ssl, uuid, venv, zlib"
        code = f"import {modules}; hashlib.new('sha3_512'); ssl.create_default_context()"
        subprocess.run([str(python), "-I", "-c", code], check=True)
