"""The entry point of every build step: runs a command in a root, and keeps its outputs.

Pants starts this program on the runner's CPython, with relative paths only. `step.json` describes
the step. Settings that must not be in the cache key, such as limits and isolators, are in
`host/settings.json`, inside a named cache. See Step in `rules/build_step.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from slipway.core.errors import SlipwayError
from slipway.isolation import job as isolation
from slipway.isolation import namespaces, network_guard, tree_cache
from slipway.isolation.cgroup_places import machine_memory
from slipway.isolation.cgroups import Cgroup
from slipway.isolation.first_process import Bounds
from slipway.isolation.job import IsolationRefused, Job
from slipway.isolation.resource_limits import read_limits
from slipway.step import records

STEP = "step.json"

_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/home/build",
    "USER": "build",
    "LOGNAME": "build",
    "SHELL": "/bin/sh",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
}

_WAYS_OUT = {
    "namespaces": """\
allow unprivileged users to create user namespaces; as root, run one of
  sysctl -w user.max_user_namespaces=15000
  sysctl -w kernel.unprivileged_userns_clone=1                (Debian 10 and older)
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    (Ubuntu 23.10 and newer)
in a container, start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined""",
    "docker": "install and start a Docker engine, and give this user access to it; check: docker version",
    "chroot": "run as root",
    "inside": "run in a container of the step's image, as root or as the image's user 1000",
}


@dataclass(frozen=True)
class LaidOutTree:
    """A layer below `trees`, and the folder of the root for its content."""

    layer: str
    sha256: str
    target: str


@dataclass(frozen=True)
class Arguments:
    """The step, as in the file STEP; `log` is the output that the step writes its log to."""

    argv: Tuple[str, ...]
    outputs: Tuple[str, ...]
    trees: Tuple[LaidOutTree, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    foreign: bool = False
    log: str = ""
    network: bool = False


def main() -> int:
    _close_inherited()
    try:
        step = records.read(Arguments, _read(STEP))
        return _run(step, json.loads(_read("host/settings.json")))
    except SlipwayError as error:
        print(error, file=sys.stderr)
        return 1
    except isolation.CallerGone:
        return 1


def _close_inherited() -> None:
    """Closes all files but standard streams.

    Pants starts processes with inherited descriptors of its store that are open for writing. A step
    could change the store through them.
    """
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the descriptor of listdir() is closed already
                os.close(int(name))


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _run(step: Arguments, settings: Dict[str, Any]) -> int:
    # The file has no name, so that no step can open it.
    with tempfile.TemporaryFile(dir=".", buffering=0) as unnamed:
        attempts = os.dup(unnamed.fileno())
    command = isolation.Command(
        argv=step.argv,
        env={**_ENVIRONMENT, **step.env},
        cwd=isolation.FOREIGN_FOLDER if step.foreign else "/build",
        attempts=None if step.network else attempts,
        network=step.network,
        foreign=step.foreign,
    )
    inputs = [isolation.Mount(os.path.realpath("slipway"), "/build/slipway"), *_inputs()]
    os.makedirs("out", exist_ok=True)
    _hide_umask("in", "slipway", "out")
    job = Job(
        trees=_layers_by_target(step.trees),
        cache=os.path.realpath("trees_cache"),
        inputs=tuple(inputs),
        out=os.path.realpath("out"),
        outputs=step.outputs,
        command=command,
        time_limit=settings["time_limit"],
        limits=read_limits(settings["limits"], machine_memory()),
    )
    try:
        with _log_in_sight(step.log):
            status = _isolated(job, settings)
    finally:
        # Also after a failure, because Pants stores outputs of failed processes too, and a failed
        # step may have left other files there.
        found = _keep_outputs(step.outputs)
    if status == 0:
        _require_outputs(step.outputs, found)
    _report_network(attempts)
    return status


def _report_network(attempts: int) -> None:
    """Writes the blocked network attempts to a file outside the folders of the step."""
    with os.fdopen(attempts, "rb") as file:
        file.seek(0)
        report = network_guard.read_report(file.read())
    if report != network_guard.Report():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(network_guard.FILE)
        with open(network_guard.FILE, "x", encoding="utf-8") as written:
            written.write(network_guard.as_json(report))


@contextlib.contextmanager
def _log_in_sight(name: str) -> Iterator[None]:
    """While the step runs, a symlink beside the settings leads to its log, for progress lines."""
    if not name:
        yield
        return
    with open(STEP, "rb") as file:
        link = os.path.join("host", hashlib.sha256(file.read()).hexdigest() + ".log")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    os.symlink(os.path.realpath(os.path.join("out", name)), link)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)


def _layers_by_target(trees: Sequence[LaidOutTree]) -> Dict[str, List[tree_cache.Layer]]:
    """Groups trees by target: trees with the same target are layers, lowest first."""
    found: Dict[str, List[tree_cache.Layer]] = {}
    for tree in trees:
        layer = tree_cache.Layer(os.path.join("trees", tree.layer), tree.sha256)
        found.setdefault(tree.target, []).append(layer)
    return found


def _isolated(job: Job, settings: Dict[str, Any]) -> int:
    """Runs the job with the first isolator that works on this machine, and records its name."""
    refusals: Dict[str, str] = {}
    for name in settings["isolators"]:
        try:
            with _in_words(job):
                status = _run_by(name, job, settings)
        except IsolationRefused as error:
            refusals[name] = str(error)
            continue
        _note(f"{name} as its user" if name == "inside" and os.geteuid() != 0 else name)
        return status
    found = "\n".join(f"{name}: {refusal}" for name, refusal in refusals.items())
    ways_out = "\n".join(_WAYS_OUT[name] for name in refusals)
    if len(refusals) == 1:
        (name,) = refusals
        raise SlipwayError(
            f'the isolator "{name}" does not work on this machine',
            found=found,
            next=ways_out,
        )
    raise SlipwayError(
        "no isolator for build steps works on this machine",
        found=found,
        next=f"do one of these:\n{ways_out}",
    )


@contextlib.contextmanager
def _in_words(job: Job) -> Iterator[None]:
    """Turns errors that all isolators can raise into messages."""
    try:
        yield
    except isolation.CommandNotStarted as error:
        raise SlipwayError(
            "cannot start the program of the step in its root file system",
            found=str(error),
            next="add Python 3.7 or newer to the image of [slipway] base_image, as "
            + error.program,
        ) from error
    except isolation.TimeLimitReached as error:
        raise SlipwayError(
            f"the step timed out after {job.time_limit:g} seconds",
            next="find out what the step waits for, or raise the limit: "
            "--slipway-step-time-limit=SECONDS",
        ) from error
    except tree_cache.LayerDamaged as error:
        raise SlipwayError(
            "a file in the store of Pants is damaged",
            found=str(error),
            next="rm -r ~/.cache/pants/lmdb_store   (or the folder [GLOBAL] local_store_dir; "
            "Pants creates it again)",
        ) from error
    except OSError as error:
        raise SlipwayError(
            f'cannot unpack the root file system of the step: "{error.strerror}"',
            where=str(error.filename or job.cache),
            next="free space there, or set [GLOBAL] named_caches_dir to a folder on another disk",
        ) from error


def _run_by(name: str, job: Job, settings: Dict[str, Any]) -> int:
    # Steps run without bytecode cache, so each step compiles every module that it imports. These
    # imports are here, so that a step compiles only the isolator that it uses.
    if name == "docker":
        if not settings["docker"]:
            raise IsolationRefused("no docker program on the PATH")
        from slipway.isolation import docker_engine  # noqa: PLC0415
        from slipway.oci import docker  # noqa: PLC0415

        return docker_engine.run(docker.Client(**settings["docker"]), job)
    if name == "chroot":
        from slipway.isolation import chroot  # noqa: PLC0415

        return chroot.run(job)
    if name == "inside":
        from slipway.isolation import inside  # noqa: PLC0415

        return inside.run(job)
    assert name == "namespaces", name  # or the report would name an isolator that did not run
    return _in_namespaces(job)


def _in_namespaces(job: Job) -> int:
    namespaces.probe()
    with tree_cache.all_unpacked(job.cache, job.trees) as trees:
        inner = [isolation.Mount(path, target) for target, path in trees.items() if target != "/"]
        out = isolation.Mount(job.out, "/build/out", writable=True)
        mounts = [*job.inputs, *inner, out]
        with Cgroup.make(job.limits) as cgroup:
            bounds = Bounds(job.limits, isolation.WRITABLE_FOLDERS, cgroup)
            return namespaces.run(trees["/"], mounts, job.command, job.time_limit, bounds)


def _note(name: str) -> None:
    """Records the isolator's name beside the settings, for the log; it must not be an output."""
    path = "host/isolator"
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        if file.read() == name:
            return
    with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
        file.write(name)
    os.replace(file.name, path)


def _hide_umask(*tops: str) -> None:
    """Sets the modes of a checkout on the files of this step, which depend on the user's umask."""
    for top in tops:
        for folder, _, files in os.walk(top):
            os.chmod(folder, 0o755)
            for name in files:
                path = os.path.join(folder, name)
                state = os.lstat(path)
                # A file with more than one hard link is in the store of Pants, and must not change.
                if stat.S_ISREG(state.st_mode) and state.st_nlink == 1:
                    os.chmod(path, 0o755 if state.st_mode & stat.S_IXUSR else 0o644)


def _inputs() -> List[isolation.Mount]:
    """A mount for each entry of `in`; large entries are symlinks to folders that steps share."""
    return [
        isolation.Mount(os.path.realpath(os.path.join("in", name)), f"/build/in/{name}")
        for name in sorted(os.listdir("in"))
    ]


def _keep_outputs(outputs: Sequence[str]) -> Dict[str, bool]:
    """Removes everything from the output folder except declared outputs that are regular files.

    Returns the declared outputs that exist; the value is True for a regular file.
    """
    found: Dict[str, bool] = {}
    for name in os.listdir("out"):
        path = os.path.join("out", name)
        state = os.lstat(path)
        is_file = stat.S_ISREG(state.st_mode)
        if name in outputs:
            found[name] = is_file
        if is_file and name in outputs:
            continue
        if stat.S_ISDIR(state.st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    return found


def _require_outputs(outputs: Sequence[str], found: Dict[str, bool]) -> None:
    for name in outputs:
        if name not in found:
            raise SlipwayError(f'the step did not write its output "{name}"')
        if not found[name]:
            raise SlipwayError(f'the step\'s output "{name}" is not a regular file')


if __name__ == "__main__":
    sys.exit(main())
