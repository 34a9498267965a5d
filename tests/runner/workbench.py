"""A runner with stand-ins for Pants and pex, so that a cold start takes three seconds.

The script, the bootstrap, pip, venv and the interpreters are real. What is installed is a wheel
whose native client prints the arguments and the environment that it got.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence

import pytest

from tests.installed_pants import PYTHON

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = (
    "pants",
    "build_rules/slipway/__init__.py",
    "build_rules/slipway/runner",
    "build_rules/slipway/step/programs/launch.py",
    "3rdparty/debian",
)

# The folders a test's PATH may have: no interpreter of the machine is found by accident.
TOOLS = ("sh", "env", "sleep", "readlink", "dash", "bash", "busybox")

# What a machine needs to reach its index; the home of a test does not contain the user's files.
NETWORK = {
    name: value
    for name, value in os.environ.items()
    if name.startswith(("PIP_", "SSL_CERT_")) or name.lower().endswith("_proxy")
}
if "PIP_CONFIG_FILE" not in NETWORK:
    for place in (".config/pip/pip.conf", ".pip/pip.conf"):
        if (Path.home() / place).exists():
            NETWORK["PIP_CONFIG_FILE"] = str(Path.home() / place)

# Prints what it was given, and does what a test asks for.
NATIVE_CLIENT = r"""#!/bin/sh
if [ -n "${STUB_SERVE-}" ]; then exec "$_PANTS_SERVER_EXE" "$@"; fi
exec 9>&1
for argument; do printf 'argument\0%s\0' "$argument"; done
printf 'folder\0%s\0' "$(pwd -P)"
while read -r name; do
    eval "value=\${$name-}"
    printf '%s\0%s\0' "$name" "$value"
done <<END
PANTS_BUILDROOT_OVERRIDE
PANTS_LOCAL_EXECUTION_ROOT_DIR
PANTS_PEX_CLI_URL_TEMPLATE
PANTS_PEX_CLI_KNOWN_VERSIONS
PANTS_PYTHON_BOOTSTRAP_SEARCH_PATH
PANTS_DYNAMIC_UI
PYTHONHOME
PYTHONPATH
NO_SCIE_WARNING
_PANTS_SERVER_EXE
END
exit "${STUB_STATUS-0}"
"""

PANTS_LOADER = """
import locale, os, sys, time

def main():
    if "UTF-8" not in locale.getpreferredencoding():
        sys.exit("Pants refuses this locale")
    print("pants", *sys.argv[1:], flush=True)
    time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
"""

PEX = """
import sys
open(sys.argv[sys.argv.index("--output-file") + 1], "w").write("pex")
"""


@dataclass(frozen=True)
class Packages:
    """A folder of wheels, which pip takes for its index, and the lock that names them."""

    folder: Path
    lock: str


def make_packages(folder: Path) -> Packages:
    pip = find_pip_wheel()
    shutil.copy(str(pip), str(folder))
    pants = {
        "pants/__init__.py": "",
        "pants/version.py": 'VERSION = "0"\n',
        "pants/bin/__init__.py": "",
        "pants/bin/native_client": NATIVE_CLIENT,
        "pants/bin/pants_loader.py": PANTS_LOADER,
        "pants/engine/__init__.py": "",
        "pants/engine/internals/__init__.py": "",
        "pants/engine/internals/native_engine.py": "",
    }
    for name, version, files in (
        ("pantsbuild.pants", "2.17.1", pants),
        ("pex", "2.1.137", {"pex/__init__.py": "", "pex/__main__.py": PEX}),
    ):
        make_wheel(folder, name, version, files)
    return Packages(folder, lock_of(folder))


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, str]) -> Path:
    info = f"{name}-{version}.dist-info"
    contents = dict(files)
    contents[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = []
    for path, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record.append(f"{path},sha256={digest.decode()},{len(text.encode())}\n")
    contents[f"{info}/RECORD"] = "".join(record) + f"{info}/RECORD,,\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(str(wheel), "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
    return wheel


def lock_of(folder: Path) -> str:
    lines = ["# A lock.\n"]
    for wheel in sorted(folder.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")
    return "".join(lines)


def find_pip_wheel() -> Path:
    code = "import ensurepip; print(ensurepip.__file__)"
    found = subprocess.run(
        [PYTHON, "-I", "-c", code], capture_output=True, text=True, check=False
    ).stdout
    wheels = list((Path(found.strip()).parent / "_bundled").glob("pip-*.whl"))
    if not wheels:
        pytest.skip(f"needs a CPython that can install pip, which {PYTHON} cannot")
    return wheels[0]


@dataclass(frozen=True)
class Result:
    status: int
    out: bytes
    err: str

    @property
    def ok(self) -> bool:
        assert self.status == 0, self.err
        return True

    @property
    def seen(self) -> Dict[str, str]:
        """What the stand-in for Pants printed, but for the arguments."""
        return {name: value for name, value in self._pairs if name != "argument"}

    @property
    def arguments(self) -> List[str]:
        return [value for name, value in self._pairs if name == "argument"]

    @property
    def _pairs(self) -> List[Sequence[str]]:
        texts = self.out.decode("utf-8").split("\0")[:-1]
        return list(zip(texts[::2], texts[1::2]))


@dataclass
class Bench:
    """A repository with a runner, a workspace, a home, a cache and a PATH of their own."""

    folder: Path
    packages: Packages
    environ: Dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, packages: Packages) -> Bench:
        bench = cls(folder, packages)
        for part in PARTS:
            source, target = REPOSITORY / part, bench.repository / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(str(source), str(target), ignore=lambda *_: ["__pycache__"])
            else:
                shutil.copy2(str(source), str(target))
        bench.lock.parent.mkdir(parents=True)
        bench.lock.write_text(packages.lock)
        bench.workspace.mkdir()
        (bench.workspace / "pants.toml").write_text('[GLOBAL]\npants_version = "2.17.1"\n')
        bench.home.mkdir()
        bench.tools.mkdir()
        for name in TOOLS:
            path = shutil.which(name)
            if path is not None:
                (bench.tools / name).symlink_to(os.path.realpath(path))
        bench.programs.mkdir()
        bench.environ = {
            "HOME": str(bench.home),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PATH": f"{bench.programs}:{bench.tools}",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(packages.folder),
            "PIP_CONFIG_FILE": os.devnull,
        }
        bench.add_python("python3.9")
        return bench

    @property
    def repository(self) -> Path:
        return self.folder / "slipway"

    @property
    def runner(self) -> Path:
        return self.repository / "pants"

    @property
    def lock(self) -> Path:
        return self.repository / "3rdparty" / "python" / "pants.lock"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def tools(self) -> Path:
        return self.folder / "tools"

    @property
    def programs(self) -> Path:
        """The first folder of PATH."""
        return self.folder / "programs"

    @property
    def environments(self) -> List[Path]:
        return sorted((self.cache / "slipway" / "environments").glob("*"))

    @property
    def unfinished(self) -> List[Path]:
        return sorted((self.cache / "slipway").glob("*/.new-*"))

    def add_python(self, name: str, body: str = "", folder: Optional[Path] = None) -> Path:
        """A program that notes its call in a file, and is the real interpreter after `body`."""
        path = (folder or self.programs) / name
        note = f'case $4 in slipway.runner.bootstrap) echo "{path}" >>"{self.folder}/bootstraps" ;; esac'
        return add_program(
            path, f'echo "{path}" >>"{self.calls_file}"\n{note}\n{body}\nexec "{PYTHON}" "$@"'
        )

    @property
    def calls_file(self) -> Path:
        return self.folder / "calls"

    @property
    def calls(self) -> List[Path]:
        """The programs of `add_python` that ran, in order."""
        return lines_of(self.calls_file)

    @property
    def bootstrapped_by(self) -> List[Path]:
        return lines_of(self.folder / "bootstraps")

    def command(self, *arguments: str, runner: Optional[Path] = None, shell: str = "") -> List[str]:
        return [*shell.split(), str(runner or self.runner), *arguments]

    def run(
        self,
        *arguments: str,
        cwd: Optional[Path] = None,
        runner: Optional[Path] = None,
        shell: str = "",
        **environ: Optional[str],
    ) -> Result:
        done = subprocess.run(
            self.command(*arguments, runner=runner, shell=shell),
            cwd=str(cwd or self.workspace),
            env=self.environ_with(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr.decode("utf-8"))

    def start(self, *arguments: str, **environ: Optional[str]) -> subprocess.Popen[bytes]:
        """In a process group of its own, to be killed as a whole."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=str(self.workspace),
            env=self.environ_with(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def environ_with(self, changes: Mapping[str, Optional[str]]) -> Dict[str, str]:
        merged = {**self.environ, **changes}
        return {name: value for name, value in merged.items() if value is not None}


def lines_of(path: Path) -> List[Path]:
    return [Path(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.002)


def newer_python() -> str:
    """A CPython that Pants cannot live in, but that can make one."""
    for minor in range(10, 20):
        for folder in ("/usr/bin", "/usr/local/bin"):
            path = Path(folder) / f"python3.{minor}"
            if path.exists():
                return str(path)
    pytest.skip("needs a CPython 3.10 or newer in /usr/bin")
    raise AssertionError
