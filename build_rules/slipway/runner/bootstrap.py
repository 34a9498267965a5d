"""Creates the runner's environment: installs Pants from a lock with hashes.

The script `pants` starts this program, with the Python that it found, if its last stamp is not
valid. The environment is created in a separate folder under a kernel lock, and renamed into place
when it is complete. So concurrent runners, a kill or a full disk leave either no environment or a
complete one. Runs on CPython 3.6 and newer, with the standard library only.
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

from slipway.runner import debian_python, serve
from slipway.runner.messages import RunnerError, say

STAMP_FORM = "slipway runner 1"

# Part of an environment's name. Raise it when the installation changes.
RECIPE = "2"

# Short, because a path with this prefix is in the first line of scripts, and Linux before 5.1 reads
# only 127 bytes of that line.
UNFINISHED = ".new-"

# The settings of a user's pip configuration that say where packages come from. Other settings
# (`user`, `target`, `no-binary`, …) are ignored, because they would change the environment.
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
    """The arguments from the script `pants`: paths, and whether this Python can run Pants."""

    kind: str
    runner: str
    workspace: str
    cache: str
    stamp: str
    requested_python: str


class Interpreter(NamedTuple):
    """A CPython that can run Pants, and a pip to begin with: a wheel, or its parent folder."""

    path: str
    pip: str


def main(call: Call) -> None:
    started = time.time()
    check_machine()
    check_paths(call)
    os.makedirs(call.cache, mode=0o700, exist_ok=True)
    check_cache(call.cache)
    with locked(os.path.join(call.cache, "lock")) as lock:
        interpreter = find_own_interpreter() if call.kind == "pants" else make_interpreter(call)
        environment = make_environment(call, interpreter, lock)
        root = make_execution_root(call)
        write_stamp(call, environment, root, interpreter, started)


def check_machine() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise RunnerError(
            "the runner needs Linux on x86-64",
            found=f"{sys.platform} on {platform.machine()}",
        )


def check_paths(call: Call) -> None:
    for path in call:
        if "\n" in path:
            raise RunnerError(
                "the runner does not support a line break in a path",
                found=repr(path),
                next="rename the folder",
            )
    # Pants inserts the path without escapes into a quoted text, and parses that as Python.
    settings = os.path.join(call.workspace, "pants.toml")
    with open(settings, encoding="utf-8", errors="replace") as file:
        uses_path = "%(buildroot)s" in file.read()
    if uses_path and re.search(r"['\\]|%\(", call.workspace):
        raise RunnerError(
            "Pants does not support '%(buildroot)s' if the workspace's path has a quote, a backslash"
            " or '%('",
            where=settings,
            found=call.workspace,
            next="rename the folder",
        )


def check_cache(cache: str) -> None:
    """Raises RunnerError if other users can write to the cache, whose files are executed."""
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
            say("another run is installing Pants; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


@contextlib.contextmanager
def new_folder(folder: str) -> Iterator[str]:
    """A new folder that is renamed to `folder` if no error occurs; the caller holds the lock."""
    parent = os.path.dirname(folder)
    os.makedirs(parent, exist_ok=True)
    for name in os.listdir(parent):
        # This process holds the lock, so the processes that created these folders have ended.
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


def find_own_interpreter() -> Interpreter:
    # The real interpreter, and not the symlink of a virtual environment, which can be deleted.
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
    import pip  # noqa: PLC0415  (the probe in `pants` requires either ensurepip or pip)

    return Interpreter(path, os.path.dirname(os.path.dirname(os.path.abspath(pip.__file__))))


def make_interpreter(call: Call) -> Interpreter:
    lock = os.path.join(call.runner, "3rdparty", "debian", "cpython39.lock")
    folder = os.path.join(call.cache, "python", "cpython-3.9-" + digest_of(lock)[:12])
    path = os.path.join(folder, debian_python.BINARY)
    if not os.access(path, os.X_OK):
        with new_folder(folder) as scratch:
            debian_python.make(scratch, lock)
    wheels = os.path.join(folder, debian_python.PIP_WHEELS)
    return Interpreter(path, glob.glob(os.path.join(glob.escape(wheels), "pip-*.whl"))[0])


def make_environment(call: Call, interpreter: Interpreter, lock: int) -> str:
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
    """Whether the environment is complete; its interpreter or files may have been deleted."""
    return all(
        os.access(os.path.join(environment, "bin", name), os.X_OK)
        for name in ("native_client", "python", "pants-server")
    )


class Builder:
    """Installs an environment into `folder`; its files must not contain the folder's name."""

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
                # pip itself is not installed, but fetches wheels of Node.js from the user's index.
                shutil.copyfile(pip, self._path("pip.whl"))
                self._add_programs()
        finally:
            self._write_log()
        say(f"installed in {time.time() - started:.0f} s")

    def _use_index_of_user(self, pip: str) -> None:
        program = pip_command(self._interpreter.path, pip)
        listing = self._run([*program, "config", "list"], env=dict(os.environ))
        # The listing can contain passwords, which must not be in a log.
        self._output.clear()
        settings = index_settings(listing)
        if "cert" not in settings and debian_python.PIP_WHEELS in self._interpreter.pip:
            # Debian's pip looks for CA certificates only in Debian's folder.
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
        """Downloads wheels: the pip that installs, which is the same on every machine, and pex."""
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
        # pip compiles on a single core. Status 1 is accepted, because some packages contain
        # templates with the suffix .py that are not valid Python.
        self._run([python, "-I", "-m", "compileall", "-q", "-j", "0", self._packages()], ok=(0, 1))

    def _pack_pex(self, tools: str, wheel: str) -> None:
        """Creates the pex program as a single file, which Pants would otherwise download.

        It is not compressed, so that its bytes do not depend on the zlib of this machine.
        """
        options = ["--no-index", "--no-build", "--no-compress", "--script", "pex"]
        options += ["--python-shebang", "/usr/bin/env python3"]
        options += ["--pex-root", os.path.join(tools, "r"), "--output-file", self._path("pex")]
        self._run([self._path("bin", "python"), "-I", "-m", "pex", wheel, *options])

    def _add_programs(self) -> None:
        for name in os.listdir(self._path("bin")):
            # Scripts from pip and venv contain the temporary name of the folder.
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
            # A child that outlives this process keeps the lock, so that no other run starts.
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
            "the installation of Pants failed",
            where=self._log,
            found="\n".join(lines[-10:]) or f"exit status {status}",
            next="pip config list   (Slipway uses the index of your pip; the log has more)",
        )

    def _write_log(self) -> None:
        # An error while the log is written must not hide why the installation failed.
        with contextlib.suppress(OSError), open(self._log, "w", encoding="utf-8") as file:
            file.writelines(self._output)


def unpacked(wheel: str, folder: str) -> str:
    """Unpacks a wheel, because Python compiles modules in an archive again at every start."""
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
    """The settings of the index in `pip config list`; the environment overrides files."""
    chosen: Dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.*)$", listing, re.MULTILINE):
            if name in INDEX_SETTINGS:
                chosen[name] = str(ast.literal_eval(value))
    return chosen


def make_execution_root(call: Call) -> str:
    """The folder for the sandboxes of this workspace's Pants."""
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
    """Removes the folders of deleted workspaces, if no Pants of theirs is running."""
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
    """Writes the stamp, which the next run of `pants` trusts: a value on each line."""
    pex = os.path.join(environment, "pex")
    lines = [
        STAMP_FORM,
        call.runner,
        call.requested_python,
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
        # The time of the start, so that a file that changed meanwhile is newer than the stamp.
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
            "cannot use a file that the runner needs",
            where=place,
            found=str(fault.strerror),
            next=f"ls -l '{place}'",
        )
    return RunnerError(
        "cannot use the runner's cache",
        where=place,
        found=str(fault.strerror or fault),
        next=f"chown -R \"$(id -un)\" '{cache}'   (or export XDG_CACHE_HOME=<another folder>)",
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
