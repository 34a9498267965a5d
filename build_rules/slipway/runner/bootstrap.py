"""Makes the runner's environment: Pants from a lock with hashes, whole or not at all.

Started by the runner when the stamp of its last time is not valid, with the Python that it found.
Everything is made in a folder of its own, under a kernel lock that ends with the processes that hold
it, and renamed into place when it is complete: two runners at once, a kill in the middle or a full
disk leave no environment or a good one. Runs on any CPython from 3.6 on, standard library only.
"""

import ast
import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.parse
import zipfile
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from slipway.runner import debian_python, serve
from slipway.runner.messages import RunnerError, say

STAMP_FORM = "slipway runner 1"

# Part of an environment's name: to be raised when the way it is made changes.
RECIPE = "1"

# Short: a path with it stands in the first line of scripts, of which kernels read 127 bytes.
UNFINISHED = ".new-"

# What of a user's pip configuration says where packages come from. Any other setting (`user`,
# `target`, `no-binary`, …) would change what an environment is.
INDEX_SETTINGS = (
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "cert",
    "client-cert",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
    "cache-dir",
    "no-cache-dir",
    "keyring-provider",
)


class Call(NamedTuple):
    """What the runner passes: where things are, and whether Pants can live in this interpreter."""

    found: str
    runner: str
    workspace: str
    cache: str
    stamp: str
    asked_python: str


class Interpreter(NamedTuple):
    """A CPython that Pants can live in, and a pip to start with: a wheel, or the folder it is in."""

    path: str
    pip: str


def main(call: Call) -> None:
    started = time.time()
    check_machine()
    check_paths(call)
    os.makedirs(call.cache, mode=0o700, exist_ok=True)
    check_cache(call.cache)
    with locked(os.path.join(call.cache, "lock")) as lock:
        interpreter = own_interpreter() if call.found == "pants" else made_interpreter(call)
        environment = made_environment(call, interpreter, lock)
        root = made_execution_root(call)
        write_stamp(call, environment, root, interpreter, started)


def check_machine() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise RunnerError(
            "the runner works on Linux on x86-64 only",
            found=f"{sys.platform} on {platform.machine()}",
        )


def check_paths(call: Call) -> None:
    for path in call:
        if "\n" in path:
            raise RunnerError(
                "the runner does not work with a line break in a path",
                found=repr(path),
                next="rename the folder",
            )
    # Pants puts the path into a quoted text as it is, and reads that as Python.
    settings = os.path.join(call.workspace, "pants.toml")
    with open(settings, encoding="utf-8", errors="replace") as file:
        uses_path = "%(buildroot)s" in file.read()
    if uses_path and re.search(r"['\\]|%\(", call.workspace):
        raise RunnerError(
            "Pants cannot read '%(buildroot)s' where the workspace's path has a quote, a backslash"
            " or '%('",
            where=settings,
            found=call.workspace,
            next="rename the folder",
        )


def check_cache(cache: str) -> None:
    """Refuses a cache in which others than this user may put what will be run."""
    if stat.S_IMODE(os.stat(cache).st_mode) & stat.S_IWOTH:
        raise RunnerError(
            "every user of this machine may write to the runner's cache",
            where=cache,
            found=oct(stat.S_IMODE(os.stat(cache).st_mode)),
            next=f"chmod o-w '{cache}'; rm -r '{cache}'/environments '{cache}'/workspaces",
        )


@contextlib.contextmanager
def locked(path: str) -> Iterator[int]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run installs Pants; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


@contextlib.contextmanager
def new_folder(folder: str) -> Iterator[str]:
    """A folder to fill, which becomes `folder` when all went well; only for the lock's holder."""
    parent = os.path.dirname(folder)
    os.makedirs(parent, exist_ok=True)
    for name in os.listdir(parent):
        # Nobody else holds the lock, so whoever began these is dead.
        if name.startswith(UNFINISHED):
            serve.remove_tree(os.path.join(parent, name))
    scratch = os.path.join(parent, UNFINISHED + str(os.getpid()))
    try:
        os.mkdir(scratch)
        yield scratch
        serve.remove_tree(folder)
        os.rename(scratch, folder)
    finally:
        serve.remove_tree(scratch)


def own_interpreter() -> Interpreter:
    # Not the link in a virtual environment, which may go away with it.
    path = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    try:
        import ensurepip  # noqa: PLC0415  (some distributions leave it out)

        folders = [os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")]
        folders += filter(None, [sysconfig.get_config_var("WHEEL_PKG_DIR")])
    except ImportError:
        folders = []
    for folder in folders:
        for wheel in glob.glob(os.path.join(glob.escape(folder), "pip-*.whl")):
            return Interpreter(path, wheel)
    import pip  # noqa: PLC0415  (the runner has seen that one of the two is there)

    return Interpreter(path, os.path.dirname(os.path.dirname(os.path.abspath(pip.__file__))))


def made_interpreter(call: Call) -> Interpreter:
    lock = os.path.join(call.runner, "3rdparty", "debian", "cpython39.lock")
    folder = os.path.join(call.cache, "python", "cpython-3.9-" + digest_of(lock)[:12])
    path = os.path.join(folder, debian_python.BINARY)
    if not os.access(path, os.X_OK):
        with new_folder(folder) as scratch:
            debian_python.make(scratch, lock)
    wheels = os.path.join(folder, debian_python.PIP_WHEELS)
    return Interpreter(path, glob.glob(os.path.join(glob.escape(wheels), "pip-*.whl"))[0])


def made_environment(call: Call, interpreter: Interpreter, lock: int) -> str:
    locked_packages = os.path.join(call.runner, "3rdparty", "python", "pants.lock")
    identity = (RECIPE, digest_of(locked_packages), digest_of(serve.__file__), interpreter.path)
    key = hashlib.sha256("\n".join(identity).encode("utf-8", "surrogateescape")).hexdigest()
    folder = os.path.join(call.cache, "environments", key[:16])
    if not is_whole(folder):
        with new_folder(folder) as scratch:
            log = os.path.join(call.cache, "install.log")
            Builder(scratch, interpreter, locked_packages, lock, log).build()
    return folder


def is_whole(environment: str) -> bool:
    """False too for one that lost its interpreter, or pieces to somebody's cleaning."""
    return all(
        os.access(os.path.join(environment, "bin", name), os.X_OK)
        for name in ("native_client", "python", "pants-server")
    )


class Builder:
    """Fills the folder of a new environment, in which nothing may depend on the folder's name."""

    def __init__(
        self, folder: str, interpreter: Interpreter, locked_packages: str, lock: int, log: str
    ) -> None:
        self._folder = folder
        self._interpreter = interpreter
        self._lock = lock
        self._log = log
        self._output: List[str] = []
        self._environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "PYTHON", "PEX_"))
        }
        with open(locked_packages, encoding="utf-8") as file:
            self._requirements = requirements(file.read())

    def build(self) -> None:
        version = self._requirements["pantsbuild.pants"].split()[0].split("==")[1]
        say(f"installing Pants {version} (once) …")
        started = time.time()
        try:
            with tempfile.TemporaryDirectory(prefix="t", dir=self._folder) as tools:
                first_pip = unpacked(self._interpreter.pip, os.path.join(tools, "1"))
                self._use_index_of_user(first_pip)
                pip, pex = self._fetch(tools, first_pip, "pip", "pex")
                self._make_venv()
                self._install(tools, unpacked(pip, os.path.join(tools, "2")))
                self._pack_pex(tools, pex)
                self._add_programs()
        finally:
            self._write_log()
        say(f"installed in {time.time() - started:.0f} s")

    def _use_index_of_user(self, pip: str) -> None:
        program = pip_command(self._interpreter.path, pip)
        listing = self._run([*program, "config", "list"], env=dict(os.environ))
        # It may hold passwords, which belong in no log.
        self._output.clear()
        settings = index_settings(listing)
        if "cert" not in settings and debian_python.PIP_WHEELS in self._interpreter.pip:
            # Debian's pip knows Debian's place for certificates only.
            settings.update(debian_python.certificates())
        for name, value in settings.items():
            self._environ["PIP_" + name.upper().replace("-", "_")] = value
        self._environ.update(
            PIP_CONFIG_FILE=os.devnull,
            PIP_DISABLE_PIP_VERSION_CHECK="1",
            PIP_NO_INPUT="1",
            PIP_PROGRESS_BAR="off",
        )

    def _fetch(self, tools: str, pip: str, *names: str) -> List[str]:
        """Wheels of the pip that installs, so that it is the same one everywhere, and of pex."""
        wanted = self._requirement_file(tools, names)
        self._pip(self._interpreter.path, pip, "download", "--dest", tools, *wanted)
        return [glob.glob(os.path.join(glob.escape(tools), name + "-*.whl"))[0] for name in names]

    def _make_venv(self) -> None:
        self._run([self._interpreter.path, "-I", "-m", "venv", "--without-pip", self._folder])

    def _install(self, tools: str, pip: str) -> None:
        names = [name for name in self._requirements if name != "pip"]
        python = self._path("bin", "python")
        options = ["--no-compile", "--no-warn-script-location"]
        self._pip(python, pip, "install", *options, *self._requirement_file(tools, names))
        # pip itself would compile on one core. A template that is no Python is no fault.
        self._run([python, "-I", "-m", "compileall", "-q", "-j", "0", self._packages()], ok=(0, 1))

    def _pack_pex(self, tools: str, wheel: str) -> None:
        """The pex program as one file, which Pants' Python rules would download from elsewhere.

        Not compressed, its bytes do not depend on the zlib of this machine.
        """
        options = ["--no-index", "--no-build", "--no-compress", "--script", "pex"]
        options += ["--python-shebang", "/usr/bin/env python3"]
        options += ["--pex-root", os.path.join(tools, "r"), "--output-file", self._path("pex")]
        self._run([self._path("bin", "python"), "-I", "-m", "pex", wheel, *options])

    def _add_programs(self) -> None:
        for name in os.listdir(self._path("bin")):
            # Scripts that pip and venv made name the folder of now.
            if not name.startswith("python"):
                os.unlink(self._path("bin", name))
        packages = self._packages()
        client = os.path.join(packages, "pants", "bin", "native_client")
        # pip does not make a data file executable.
        os.chmod(client, 0o755)
        os.symlink(os.path.relpath(client, self._path("bin")), self._path("bin", "native_client"))
        server = os.path.join(packages, "slipway_serve.py")
        shutil.copyfile(serve.__file__, server)
        with open(self._path("bin", "pants-server"), "w", encoding="utf-8") as file:
            file.write(
                '#!/bin/sh\nexec "${{0%/*}}/python" "${{0%/*}}/{}" "$@"\n'.format(
                    os.path.relpath(server, self._path("bin"))
                )
            )
        os.chmod(self._path("bin", "pants-server"), 0o755)
        self._run(
            [self._path("bin", "python"), "-I", "-c", "import pants.engine.internals.native_engine"]
        )

    def _path(self, *parts: str) -> str:
        return os.path.join(self._folder, *parts)

    def _packages(self) -> str:
        (folder,) = glob.glob(
            os.path.join(glob.escape(self._folder), "lib", "python3*", "site-packages")
        )
        return folder

    def _requirement_file(self, tools: str, names: Iterable[str]) -> Tuple[str, str]:
        path = os.path.join(tools, "requirements.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(self._requirements[name] for name in names)
        return "--requirement", path

    def _pip(self, python: str, pip: str, command: str, *args: str) -> None:
        program = [*pip_command(python, pip), command]
        checks = ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
        self._run([*program, *checks, *args], env=self._environ)

    def _run(
        self,
        command: List[str],
        env: Optional[Dict[str, str]] = None,
        ok: Tuple[int, ...] = (0,),
    ) -> str:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env or self._environ,
            encoding="utf-8",
            errors="replace",
            # A child that outlives this process keeps the lock until it has ended.
            pass_fds=(self._lock,),
        )
        self._output.append(done.stdout)
        if done.returncode not in ok:
            raise self._failure(done.returncode, done.stdout)
        return done.stdout

    def _failure(self, status: int, output: str) -> Exception:
        for code in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(code) in output:
                return OSError(code, os.strerror(code), os.path.dirname(self._folder))
        lines = [line for line in output.splitlines() if line.strip()]
        return RunnerError(
            "Pants could not be installed",
            where=self._log,
            found="\n".join(lines[-10:]) or f"exit status {status}",
            next="pip config list   (the index is that of your own pip; the log has more)",
        )

    def _write_log(self) -> None:
        # A log that cannot be written must not hide why the installation failed.
        with contextlib.suppress(OSError), open(self._log, "w", encoding="utf-8") as file:
            file.writelines(self._output)


def unpacked(wheel: str, folder: str) -> str:
    """A wheel as a folder: out of an archive, every start compiles each module anew."""
    if os.path.isdir(wheel):
        return wheel
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def pip_command(python: str, folder: str) -> List[str]:
    """What runs the pip in a folder, without installing it: its package is a program too."""
    return [python, "-I", os.path.join(folder, "pip")]


def requirements(lock: str) -> Dict[str, str]:
    """The entries of a lock by name, each with its version, marker and hashes."""
    entries = re.findall(r"^(?:[^#\s].*\\\n)(?:.*\\\n)*.*\n", lock, re.MULTILINE)
    return {entry.split("==")[0]: entry for entry in entries}


def index_settings(listing: str) -> Dict[str, str]:
    """What `pip config list` says about the index; its environment wins over its files."""
    chosen: Dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.*)$", listing, re.MULTILINE):
            if name in INDEX_SETTINGS:
                chosen[name] = str(ast.literal_eval(value))
    return chosen


def made_execution_root(call: Call) -> str:
    """The folder in which the Pants of this workspace keeps its sandboxes."""
    parent = os.path.join(call.cache, "run")
    key = hashlib.sha256(call.workspace.encode("utf-8", "surrogateescape")).hexdigest()
    root = os.path.join(parent, key[:12])
    if not os.path.isdir(root):
        os.makedirs(root, mode=0o700)
        remove_orphans(parent)
    with open(os.path.join(root, serve.LOCK_NAME), "w", errors="surrogateescape") as file:
        file.write(call.workspace)
    return root


def remove_orphans(parent: str) -> None:
    """Removes the folders of workspaces that are gone, where no Pants lives any more."""
    for name in os.listdir(parent):
        root = os.path.join(parent, name)
        try:
            with open(os.path.join(root, serve.LOCK_NAME), errors="surrogateescape") as file:
                if os.path.isdir(file.read() or "/"):
                    continue
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not any(point.startswith(root + "/") for point in serve.mount_points()):
                    serve.remove_tree(root)
        except OSError:
            continue


def write_stamp(
    call: Call, environment: str, root: str, interpreter: Interpreter, started: float
) -> None:
    """Tells the next run what it may use without asking, as one value a line."""
    pex = os.path.join(environment, "pex")
    lines = [
        STAMP_FORM,
        call.runner,
        call.asked_python,
        environment,
        root,
        "file://" + urllib.parse.quote(pex),
        json.dumps([f"v2.1.137|linux_x86_64|{digest_of(pex)}|{os.path.getsize(pex)}"]),
        "+" + json.dumps([os.path.dirname(interpreter.path)]),
    ]
    folder = os.path.dirname(call.stamp)
    os.makedirs(folder, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=folder)
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(line + "\n" for line in lines)
        # A file that was changed since the start counts as newer.
        os.utime(scratch, (started, started))
        os.rename(scratch, call.stamp)
    except BaseException:
        os.unlink(scratch)
        raise


def digest_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def explain(fault: OSError, cache: str) -> RunnerError:
    place = str(fault.filename or cache)
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunnerError(
            "the disk is full",
            where=place,
            found=str(fault.strerror),
            next="free about 500 MB there, or export XDG_CACHE_HOME=<a folder on another disk>",
        )
    if not os.path.join(place, "").startswith(os.path.join(cache, "")) and fault.filename:
        return RunnerError(
            "a file that the runner needs cannot be used",
            where=place,
            found=str(fault.strerror),
            next=f"ls -l '{place}'",
        )
    return RunnerError(
        "the runner's cache cannot be used",
        where=place,
        found=str(fault.strerror or fault),
        next=f"make it yours: chown -R \"$(id -un)\" '{cache}', or export XDG_CACHE_HOME=…",
    )


def run() -> int:
    call = Call(*sys.argv[1:])
    try:
        try:
            main(call)
        except OSError as fault:
            raise explain(fault, call.cache) from fault
    except RunnerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(run())
