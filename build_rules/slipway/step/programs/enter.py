"""The way into every build step: runs a command inside a root file system, then leaves its outputs.

Pants starts this on the runner's own CPython with relative names only.  The step is in `step.json`;
what must not be in the cache key (time limit, folder of unpacked trees) comes from
`host/settings.json`, which Pants reaches through a named cache.  See Step in `rules/build_step.py`.
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
let unprivileged users make user namespaces on this machine; as root, one of
  sysctl -w user.max_user_namespaces=15000
  sysctl -w kernel.unprivileged_userns_clone=1                (Debian 10 and older)
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    (Ubuntu 23.10 and newer)
in a container, start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined""",
    "docker": "install a Docker engine, start it, and let this user reach it: docker version",
    "chroot": "run as root",
    "inside": "run in a container of the step's own image, as root or as its user 1000",
}


@dataclass(frozen=True)
class LaidOutTree:
    """A layer below `trees`, and the folder of the root that it is unpacked to."""

    layer: str
    sha256: str
    target: str


@dataclass(frozen=True)
class Arguments:
    """The step, as it is in STEP; `log` is the one of its outputs that tells how far it is."""

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
    """Pants leaves the files of its own store open in the processes that it starts, for writing."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the one that lists the folder
                os.close(int(name))


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _run(step: Arguments, settings: Dict[str, Any]) -> int:
    # A file without a name: no step can find it.
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
        # Whatever the status: Pants takes in what is there, and whoever failed may have left more.
        found = _keep_outputs(step.outputs)
    if status == 0:
        _require_outputs(step.outputs, found)
    _report_network(attempts)
    return status


def _report_network(attempts: int) -> None:
    """Leaves what was tried in a file of this program's own, which no step reaches."""
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
    """Leaves a link to the output that a long step writes its log to, for whoever waits for it."""
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
    """Trees with one target are layers of one tree, the lowest first."""
    found: Dict[str, List[tree_cache.Layer]] = {}
    for tree in trees:
        layer = tree_cache.Layer(os.path.join("trees", tree.layer), tree.sha256)
        found.setdefault(tree.target, []).append(layer)
    return found


def _isolated(job: Job, settings: Dict[str, Any]) -> int:
    """Runs the job by the first isolator that this machine offers, and notes down which it was."""
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
            f"this machine refuses the isolator that [slipway] isolator names: {name}",
            found=found,
            next=ways_out,
        )
    raise SlipwayError(
        "this machine offers none of the ways to isolate a build step",
        found=found,
        next=f"one of these:\n{ways_out}",
    )


@contextlib.contextmanager
def _in_words(job: Job) -> Iterator[None]:
    """Turns what keeps any isolator from running a job into messages for people."""
    try:
        yield
    except isolation.CommandNotStarted as error:
        raise SlipwayError(
            "the root file system of the step cannot start its program",
            found=str(error),
            next="put Python 3.7 or newer into the image that [slipway] base_image names, as "
            + error.program,
        ) from error
    except isolation.TimeLimitReached as error:
        raise SlipwayError(
            f"the step was still running after {job.time_limit:g} seconds and was ended",
            next="find out what it waits for, or give it longer with "
            "--slipway-step-time-limit=SECONDS",
        ) from error
    except tree_cache.LayerDamaged as error:
        raise SlipwayError(
            "a file in Pants' own store is damaged",
            found=str(error),
            next="rm -r ~/.cache/pants/lmdb_store, or what [GLOBAL] local_store_dir names; "
            "Pants makes it anew",
        ) from error
    except OSError as error:
        raise SlipwayError(
            f'the root file system of the step cannot be unpacked: "{error.strerror}"',
            where=str(error.filename or job.cache),
            next="free space there, or point [GLOBAL] named_caches_dir to another disk",
        ) from error


def _run_by(name: str, job: Job, settings: Dict[str, Any]) -> int:
    # Each step compiles what it imports: of the isolators, the one that it takes.
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
    """Leaves the isolator's name beside the settings, for the log: it belongs into no result."""
    path = "host/isolator"
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        if file.read() == name:
            return
    with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
        file.write(name)
    os.replace(file.name, path)


def _hide_umask(*tops: str) -> None:
    """Gives what Pants laid out for this step the modes of a checkout, whatever the user's umask."""
    for top in tops:
        for folder, _, files in os.walk(top):
            os.chmod(folder, 0o755)
            for name in files:
                path = os.path.join(folder, name)
                state = os.lstat(path)
                # More than one link: the file is Pants' own, in its store.
                if stat.S_ISREG(state.st_mode) and state.st_nlink == 1:
                    os.chmod(path, 0o755 if state.st_mode & stat.S_IXUSR else 0o644)


def _inputs() -> List[isolation.Mount]:
    """Each entry of `in` by itself: large ones are links to folders that Pants shares."""
    return [
        isolation.Mount(os.path.realpath(os.path.join("in", name)), f"/build/in/{name}")
        for name in sorted(os.listdir("in"))
    ]


def _keep_outputs(outputs: Sequence[str]) -> Dict[str, bool]:
    """Removes all from the output folder but the declared outputs that are regular files.

    The result maps what is there of the declared outputs to whether it was a regular file.
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
            raise SlipwayError(f'the step left something else than a file as its output "{name}"')


if __name__ == "__main__":
    sys.exit(main())
