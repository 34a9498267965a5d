"""Runs the real runner in a workspace made of this repository's own files, and cleans up after it.

    caches, path = Caches(scratch / "caches"), str(tools_folder(scratch / "tools"))
    clone = Workspace.make(scratch / "clone", caches, path)
    result = clone.pants("package", "//apps/koa-kkl:release").ok()
    assert result.counts.ran == []

A run sees a home with one `.npmrc` line, a PATH without node, npm and docker, and nothing else of
the environment of the tests but what says where packages come from. Whatever a run starts is ended
with it, by process id.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from tests.e2e.counts import Counts

REPOSITORY = Path(__file__).resolve().parents[2]
origin = REPOSITORY  # what clones are made of
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HIDDEN_TOOLS = ("node", "nodejs", "npm", "npx", "docker", "podman")
# What clients other than npm need to find their packages: certificates, proxies, Python's index.
PASSED_ON = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("SLIPWAY_DEBIAN_MIRROR",),
)
NOT_COPIED = (".git", "dist", ".pants.d", ".pids", "__pycache__", "node_modules", ".hypothesis")
# Where the settings of Slipway's own tests begin in pants.toml, and the BUILD files for them.
_OF_TESTS = "# The rest is for Slipway's own tests"
_PYTHON_TARGETS = re.compile(r"(build_rules|3rdparty/python|tests(/\w+)*)/BUILD$")
TIME_LIMIT = 600.0
MARK = "SLIPWAY_E2E_RUN"


class TimeLimitReached(AssertionError):
    """A run that did not end in time; it has been ended."""


# --- What this machine offers.


@functools.lru_cache(maxsize=None)
def npm_registry() -> Optional[str]:
    """The registry that this machine's own npm configuration names; None: no such tests."""
    for name in ("SLIPWAY_E2E_NPM_REGISTRY", "npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name):
            return os.environ[name]
    if shutil.which("npm") is None:
        return None
    answer = subprocess.run(
        ["npm", "config", "get", "registry"],
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=False,
    )
    return answer.stdout.strip() or None


@functools.lru_cache(maxsize=None)
def pip_settings() -> Mapping[str, str]:
    """The user's own pip configuration as variables: the home of a run does not hold it."""
    for python in (sys.executable, shutil.which("python3")):
        answer = subprocess.run(
            [str(python), "-m", "pip", "config", "list"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=60,
            check=False,
        )
        if answer.returncode == 0:
            return _pip_variables(answer.stdout)
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def _pip_variables(listing: str) -> Dict[str, str]:
    found = {}
    for line in listing.splitlines():
        key, _, quoted = line.partition("=")
        value = " ".join(quoted.strip("'\"").replace("\\n", " ").split())
        found["PIP_" + key.rsplit(".", 1)[1].upper().replace("-", "_")] = value
    return found


@functools.lru_cache(maxsize=None)
def can_become_another_user() -> bool:
    return os.geteuid() == 0


# --- Users and folders.


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    gid: int


def user(name: str) -> User:
    entry = pwd.getpwnam(name)
    return User(name, entry.pw_uid, entry.pw_gid)


def own(path: Path, owner: Optional[User]) -> None:
    """Gives a folder and all in it to a user."""
    if owner is None:
        return
    os.chown(path, owner.uid, owner.gid)
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            os.chown(os.path.join(folder, name), owner.uid, owner.gid, follow_symlinks=False)


def remove(path: Path) -> None:
    """Removes a folder in which read-only folders are, or some that are too deep for Python."""
    for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
        subprocess.run([*command, "--", str(path)], stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def scratch_folder(name: str = "") -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix=f"slipway-e2e-{name}"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        remove(path)


def tools_folder(folder: Path, hidden: Sequence[str] = HIDDEN_TOOLS) -> Path:
    """One folder with links to every tool of the machine, less those."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in PATH.split(":"):
        for name in os.listdir(place) if os.path.isdir(place) else []:
            link = folder / name
            if name not in hidden and not os.path.lexists(link):
                link.symlink_to(os.path.join(place, name))
    return folder


def false_tools(folder: Path, names: Sequence[str]) -> Path:
    """A folder with programs of those names that always fail."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        program = folder / name
        program.write_text("#!/bin/sh\nexit 1\n")
        program.chmod(0o755)
    return folder


# --- Processes.


def start_as(
    owner: Optional[User], umask: int, prepare: Optional[Callable[[], None]] = None
) -> Callable[[], None]:
    """What a child does before it becomes its program; `prepare` runs as the tests' own user."""

    def become() -> None:
        if prepare is not None:
            prepare()
        os.umask(umask)
        if owner is not None:
            os.setgroups([])
            os.setgid(owner.gid)
            os.setuid(owner.uid)

    return become


def marked_processes(mark: str) -> Set[int]:
    """Processes with that mark in their environment, wherever they were moved to."""
    wanted = f"{MARK}={mark}".encode()
    found = set()
    for pid in _pids():
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found


def descendants(pid: int) -> Set[int]:
    children: Dict[int, List[int]] = {}
    for one in _pids():
        with contextlib.suppress(OSError, ValueError):
            stat = Path(f"/proc/{one}/stat").read_text()
            children.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(one)
    found: Set[int] = set()
    queue = [pid]
    while queue:
        for child in children.get(queue.pop(), []):
            found.add(child)
            queue.append(child)
    return found


def _pids() -> List[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def end(pids: Set[int], number: int = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {seconds:g} s: {what}"
        time.sleep(0.05)


# --- Workspaces.


@dataclass(frozen=True)
class Caches:
    """The folders that one user of one machine has: Pants' store, named caches, the runner's.

    The runner's own folder may be elsewhere: it installs Pants there, which takes a minute; `python`
    is the Python of that Pants, where it is not the one that the runner finds.
    """

    folder: Path
    shared_runner: Optional[Path] = None
    shared_store: Optional[Path] = None
    python: Optional[str] = None

    @property
    def store(self) -> Path:
        return self.shared_store or self.folder / "store"

    @property
    def named(self) -> Path:
        return self.folder / "named"

    @property
    def runner(self) -> Path:
        return self.shared_runner or self.folder / "runner"

    def make(self) -> Caches:
        for one in (self.store, self.named, self.runner):
            one.mkdir(parents=True, exist_ok=True)
        return self

    def fresh(self, folder: Path) -> Caches:
        """Empty caches, with the Pants that is installed here."""
        return Caches(folder, self.runner, python=self.python).make()


@dataclass(frozen=True)
class Result:
    command: Tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    counts: Counts
    seconds: float

    @property
    def output(self) -> str:
        return f"{self.stdout}\n{self.stderr}"

    def ok(self) -> Result:
        assert self.code == 0, f"exit status {self.code} of {self.command}\n{self.output}"
        return self

    def failed(self) -> Result:
        assert self.code != 0, f"{self.command} succeeded\n{self.output}"
        return self


@dataclass
class Workspace:
    """A clone, its user, and the folders and settings that its runs have."""

    root: Path
    home: Path
    caches: Caches
    path: str
    owner: Optional[User] = None
    umask: int = 0o022
    env: Dict[str, str] = field(default_factory=dict)
    options: Tuple[str, ...] = ()
    daemon: bool = False
    prepare: Optional[Callable[[], None]] = None
    mark: str = field(default_factory=lambda: f"{os.getpid()}-{time.monotonic_ns()}")

    @classmethod
    def make(cls, root: Path, caches: Caches, path: str, **settings: Any) -> Workspace:
        """A clone of this repository's files at `root`, with a home beside it."""
        home = settings.pop("home", None) or root.parent / f"{root.name}-home"
        made = cls(root, home, caches.make(), path, **settings)
        copy_repository(root, made.umask)
        made.write_npmrc()
        made.give_to_owner()
        return made

    def write_npmrc(self, *lines: str, registry: Optional[str] = None) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        first = f"registry={registry or npm_registry()}"
        (self.home / ".npmrc").write_text("\n".join([first, *lines]) + "\n")

    def give_to_owner(self) -> None:
        for one in (self.root, self.home, self.caches.folder):
            own(one, self.owner)

    @property
    def counts_file(self) -> Path:
        return self.home / "counts.jsonl"

    def environment(self, more: Optional[Mapping[str, str]] = None) -> Dict[str, str]:
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        plugins = self.root / "tests" / "e2e"
        if self.caches.python:
            passed["SLIPWAY_PYTHON"] = self.caches.python
        return {
            **passed,
            **pip_settings(),
            "PATH": self.path,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "XDG_CACHE_HOME": str(self.caches.runner),
            "PANTS_LOCAL_STORE_DIR": str(self.caches.store),
            "PANTS_NAMED_CACHES_DIR": str(self.caches.named),
            "PANTS_PYTHONPATH": f'+["{plugins}"]',
            "PANTS_BACKEND_PACKAGES": '+["counting"]',
            "PANTS_COUNTING_FILE": str(self.counts_file),
            "PANTS_PANTSD": str(self.daemon).lower(),
            "PANTS_DYNAMIC_UI": "false",
            "PANTS_STREAMING_WORKUNITS_COMPLETE_ASYNC": "false",
            # Other sessions of tests run beside this one.
            "PANTS_PROCESS_EXECUTION_LOCAL_PARALLELISM": "2",
            MARK: self.mark,
            **self.env,
            **(more or {}),
        }

    def pants(
        self,
        *arguments: str,
        env: Optional[Mapping[str, str]] = None,
        timeout: float = TIME_LIMIT,
        before: Sequence[str] = (),
        runner: str = "./pants",
        cwd: Optional[Path] = None,
    ) -> Result:
        """Runs the runner to its end; `before` is a command that starts it, such as taskset."""
        with contextlib.suppress(FileNotFoundError):
            self.counts_file.unlink()
        command = (*before, runner, *self.options, *arguments)
        started = time.monotonic()
        process = self.start(*arguments, env=env, before=before, runner=runner, cwd=cwd)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            end(descendants(process.pid) | {process.pid})
            stdout, stderr = process.communicate()
            raise TimeLimitReached(f"{command} ran for {timeout} s\n{stdout}\n{stderr}") from None
        except BaseException:
            end(descendants(process.pid) | {process.pid})
            process.wait()
            raise
        seconds = time.monotonic() - started
        counts = Counts.read(self.counts_file)
        return Result(command, process.returncode, stdout, stderr, counts, seconds)

    def start(
        self,
        *arguments: str,
        env: Optional[Mapping[str, str]] = None,
        before: Sequence[str] = (),
        runner: str = "./pants",
        cwd: Optional[Path] = None,
        stdio: Optional[int] = None,
    ) -> subprocess.Popen[str]:
        """Starts the runner in a session of its own; the caller waits for it and ends it.

        `stdio` is a descriptor, such as a terminal's, for all three streams.
        """
        return subprocess.Popen(
            [*before, runner, *self.options, *arguments],
            cwd=cwd or self.root,
            env=self.environment(env),
            universal_newlines=True,
            encoding="utf-8",
            errors="replace",
            # The tests start no threads of their own before this.
            preexec_fn=start_as(self.owner, self.umask, self.prepare),  # noqa: PLW1509
            stdin=subprocess.DEVNULL if stdio is None else stdio,
            stdout=subprocess.PIPE if stdio is None else stdio,
            stderr=subprocess.PIPE if stdio is None else stdio,
            start_new_session=True,
        )

    def dist(self, *names: str) -> Path:
        return self.root.joinpath("dist", *names)

    def release(self, target: str = "apps.koa-kkl/release") -> Path:
        """The release tarball that a target wrote last; another version may be beside it."""
        found = [
            path
            for path in self.dist(target).glob("*.tar.gz")
            if not path.name.endswith(".static.tar.gz")
        ]
        assert found, f"no release below {self.dist(target)}"
        return max(found, key=lambda path: path.stat().st_mtime_ns)

    def daemon_pid(self) -> Optional[int]:
        for path in self.root.glob(".pids/*/pantsd/pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(path.read_text())
                os.kill(pid, 0)
                return pid
        return None

    def stop_daemon(self) -> None:
        pid = self.daemon_pid()
        if pid is None:
            return
        end({pid}, signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.daemon_pid() is None, 10, f"daemon {pid} ends")
        end({pid} | descendants(pid) if self.daemon_pid() else set())

    def close(self) -> None:
        """Ends the daemon and whatever else of this workspace's runs still lives."""
        self.stop_daemon()
        end(marked_processes(self.mark))

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def edit(self, path: str, change: Callable[[str], str]) -> None:
        """Changes one file; the change must be one."""
        file = self.root / path
        before = file.read_text(encoding="utf-8")
        after = change(before)
        assert after != before, f"{path} is as it was"
        file.write_text(after, encoding="utf-8")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.com")
        safe = ("-c", f"safe.directory={self.root}")
        return subprocess.run(
            ["git", *identity, *safe, *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    def commit(self) -> None:
        """Makes the workspace a repository of its own with all of its files committed."""
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=Everything")
        own(self.root / ".git", self.owner)


def repository_files() -> List[str]:
    """The files that a clone has; in a sandbox without .git, all files around the tests."""
    if (origin / ".git").exists() and shutil.which("git"):
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=origin,
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        ).stdout
        names = sorted(os.fsdecode(name) for name in listing.split(b"\0") if name)
        return [name for name in names if (origin / name).is_file()]
    found: List[str] = []
    for folder, folders, files in os.walk(origin):
        folders[:] = sorted(set(folders) - set(NOT_COPIED))
        found.extend(os.path.relpath(os.path.join(folder, name), origin) for name in files)
    return found


def copy_repository(target: Path, umask: int = 0o022) -> None:
    """Copies the repository without the targets of its own tests, as a user's repository is.

    The tests need Pants' Python backend, whose rules would take longer than the rest of each start.
    """
    for name in repository_files():
        if _PYTHON_TARGETS.match(name):
            continue
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin / name, place)
        executable = os.access(origin / name, os.X_OK)
        place.chmod((0o777 if executable else 0o666) & ~umask)
    settings = target / "pants.toml"
    own, _, _ = settings.read_text().partition(_OF_TESTS)
    settings.write_text(own.replace(', "pants.backend.python"', ""))
