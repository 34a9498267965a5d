"""Runs a build step with a Docker engine, on this machine or on another.

Nothing is mounted. The root is an image that is loaded once, and inputs and outputs are tar streams
through the container's standard streams. So remote and rootless engines work as well. Slipway uses
the `docker` client and not the engine's socket, because it knows the user's contexts and logins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import posixpath
import random
import subprocess
import sys
import tarfile
import threading
import time
from typing import IO, BinaryIO, Iterator, List, Mapping, Optional, Sequence

from slipway.archive import unpacking
from slipway.archive.tar_reading import Kind, Member
from slipway.isolation import container_side, container_start
from slipway.isolation import job as isolation
from slipway.isolation.job import (
    HOST_NAME,
    PYTHON_OPTIONS,
    CommandNotStarted,
    IsolationRefused,
    Job,
)
from slipway.isolation.tree_cache import Layer
from slipway.oci import image as oci_image
from slipway.oci.docker import Client, EngineRefused, check_disk, last_line
from slipway.oci.image import Image, LayerBlob

_PLATFORM = "linux/amd64"
# The date of the image, which is part of its ID and must therefore be fixed.
_DATE = "2000-01-01"
_PYTHON = "/usr/bin/python3"
_LAUNCHER = f"{container_start.BUILD}/{container_start.MODULES}/slipway/step/programs/launch.py"
_OWNER = f"uid={container_start.PROGRAM_USER},gid={container_start.PROGRAM_USER}"
# Capabilities to run programs and foreign commands as different users, and to chown their folders.
_CAPABILITIES = ("SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE", "FOWNER")
_TRIES, _PAUSE = 20, 0.5
_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.FOLDER: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.HARD_LINK: tarfile.LNKTYPE,
}


def run(client: Client, job: Job) -> int:
    """Runs the job; returns the command's exit status. Its outputs are in `job.out`.

    Raises IsolationRefused, CommandNotStarted, TimeLimitReached or CallerGone.
    """
    try:
        return _run(client, job)
    except EngineRefused as error:
        raise IsolationRefused(str(error)) from None


def _run(client: Client, job: Job) -> int:
    image = _image(job.trees["/"])
    for attempt in (1, 2):
        name = _find(client, image) or _load(client, image, job)
        status = _run_once(client, name, job)
        if status is not None:
            return status
        if attempt == 2:
            raise IsolationRefused(f"the engine removed the image {name} right after loading it")
    raise AssertionError


# --- The image.


def _image(layers: Sequence[Layer]) -> Image:
    blobs = [LayerBlob(layer.sha256, os.path.getsize(layer.path)) for layer in layers]
    return oci_image.make_image(blobs, {}, _DATE)


def _find(client: Client, image: Image) -> Optional[str]:
    """The engine's name for the image, if it has it; classic and containerd stores differ."""
    last = ""
    for name in (image.image_id, image.manifest_digest):
        answer = client.ask("image", "inspect", "--format={{.Id}}", name)
        if answer.returncode == 0:
            return name
        last = answer.stderr.strip()
        if "no such image" not in last.lower():
            raise IsolationRefused(last_line(last))
    return None


def _load(client: Client, image: Image, job: Job) -> str:
    version = client.ask("version", "--format={{.Server.Os}}/{{.Server.Arch}}")
    if version.returncode != 0:
        raise IsolationRefused(last_line(version.stderr))
    platform = version.stdout.strip()
    if platform != _PLATFORM:
        raise IsolationRefused(f"the engine is for {platform}, not for {_PLATFORM}")
    with _one_at_a_time(os.path.join(job.cache, "docker-load.lock")):
        known = _find(client, image)
        if known:
            return known
        name = f"slipway-root:{image.image_id.rpartition(':')[2][:16]}"
        output = _stream(client, image, job, name)
        known = _find(client, image)
        if not known:
            raise IsolationRefused(f"docker load failed: {last_line(output)}")
        return known


def _stream(client: Client, image: Image, job: Job, name: str) -> str:
    paths = [layer.path for layer in job.trees["/"]]
    process = subprocess.Popen(
        [client.program, "load", "--quiet"],
        env=dict(client.env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_with_parent,  # noqa: PLW1509  (no thread has been started yet)
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with isolation.watched(job.time_limit):
            with contextlib.suppress(BrokenPipeError):  # the output of docker says why
                oci_image.stream_archive(image, paths, name, process.stdin)  # type: ignore[arg-type]
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            output = process.stdout.read().decode(errors="replace")
            process.wait()
    finally:
        process.kill()
        process.wait()
    check_disk(output)
    return output


@contextlib.contextmanager
def _one_at_a_time(path: str) -> Iterator[None]:
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- One container.


def _run_once(client: Client, image: str, job: Job) -> Optional[int]:
    """Runs the job in a new container; None if the engine no longer has the image."""
    name = f"slipway-{os.getpid()}-{random.SystemRandom().getrandbits(64):016x}"
    guardian = isolation.Guardian(lambda: _remove(client, name, _TRIES))
    process = subprocess.Popen(
        [client.program, *_arguments(name, image, job)],
        env=dict(client.env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_with_parent,  # noqa: PLW1509  (no thread has been started yet)
    )
    errors: List[bytes] = []
    assert process.stderr is not None
    listening = threading.Thread(target=_listen, args=(process.stderr, errors), daemon=True)
    listening.start()
    done = False
    try:
        with isolation.watched(job.time_limit):
            status = _converse(process, job)
        done = status is not None
        process.wait()
    finally:
        if not done:
            process.kill()
            process.wait()
            _remove(client, name)
        listening.join()
        guardian.dismiss()
    if status is not None:
        return status
    text = b"".join(errors).decode(errors="replace")
    check_disk(text)
    if "no such image" in text.lower():
        return None
    raise IsolationRefused(last_line(text))


def _with_parent() -> None:
    isolation.die_with_parent()


def _arguments(name: str, image: str, job: Job) -> List[str]:
    task = {
        "argv": job.command.argv,
        "env": dict(job.command.env),
        "cwd": job.command.cwd,
        "foreign": job.command.foreign,
        "limits": dataclasses.asdict(job.limits),
        "guarded": job.command.attempts is not None,
        "outputs": job.outputs,
    }
    limits = f"size={job.limits.space},nr_inodes={job.limits.inodes}"
    options = f"rw,exec,nosuid,nodev,{limits}"
    with open(container_start.__file__, encoding="utf-8") as file:
        program = file.read()
    return [
        *("run", "--rm", "--interactive", f"--name={name}", "--read-only"),
        *(() if job.command.network else ("--network=none",)),
        *("--user=0:0", f"--hostname={HOST_NAME}", "--workdir=/"),
        *("--cap-drop=ALL", *(f"--cap-add={name}" for name in _CAPABILITIES)),
        *("--security-opt=no-new-privileges", "--shm-size=1g"),
        # Some processes more, because the first process and the program count too.
        *(f"--pids-limit={job.limits.processes + 64}", f"--memory={job.limits.memory}"),
        f"--memory-swap={job.limits.memory}",
        f"--tmpfs={container_start.BUILD}:{options},mode=755,{_OWNER}",
        f"--tmpfs=/home:{options},mode=755",
        f"--tmpfs=/tmp:{options},mode=1777",
        *("--env=PYTHONHASHSEED=0", f"--entrypoint={_PYTHON}", image),
        *(*PYTHON_OPTIONS, "-c", program),
        *(_PYTHON, *PYTHON_OPTIONS, _LAUNCHER, container_side.__name__, json.dumps(task)),
    ]


def _converse(process: subprocess.Popen[bytes], job: Job) -> Optional[int]:
    """Sends the inputs and receives the outputs; None if the container did not start."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        with tarfile.open(
            fileobj=process.stdin,
            mode="w|",
            format=tarfile.PAX_FORMAT,
            bufsize=container_start.RECORD,
        ) as tar:
            _send(tar, job)
        process.stdin.flush()
    # stdin stays open, because the container ends at the end of it: see container_side.
    try:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            status = _receive(tar, job)
        process.stdout.read()  # the padding of the archive
        return status
    except tarfile.ReadError:
        return None
    finally:
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _listen(stream: BinaryIO, errors: List[bytes]) -> None:
    for line in stream:
        errors.append(line)
        sys.stderr.buffer.write(line)
        sys.stderr.flush()


def _send(tar: tarfile.TarFile, job: Job) -> None:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    tar.add(package, f"{container_start.MODULES}/slipway", filter=_module)
    for mount in job.inputs:
        tar.add(mount.source, posixpath.relpath(mount.target, container_start.BUILD), filter=_plain)
    for target, layers in job.trees.items():
        if target == "/":
            continue
        folder = posixpath.relpath(target, container_start.BUILD)
        checked = unpacking.check([layer.path for layer in layers], rules=unpacking.ROOT)
        for path, members in checked:
            with open(path, "rb") as file:
                for member in members:
                    file.seek(member.offset)
                    tar.addfile(_plain(_info(member, folder)), file)


def _info(member: Member, folder: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(posixpath.join(folder, member.name))
    info.type = _TYPES[member.kind]
    info.mode, info.mtime, info.size = member.mode, member.mtime, member.size
    info.linkname = member.target
    if member.kind is Kind.HARD_LINK:
        info.linkname = posixpath.join(folder, member.target)
    return info


def _module(member: tarfile.TarInfo) -> Optional[tarfile.TarInfo]:
    """Python modules only, owned by the container's root, because that user imports them."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member if member.isdir() or member.name.endswith(".py") else None


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = container_start.PROGRAM_USER
    member.uname = member.gname = ""
    return member


def _receive(tar: tarfile.TarFile, job: Job) -> Optional[int]:
    report: Optional[Mapping[str, int]] = None
    wanted = {f"out/{name}" for name in job.outputs}
    for member in tar:
        content = tar.extractfile(member) if member.isreg() else None
        if member.name == "report" and content is not None:
            report = json.loads(content.read())
        elif member.name == "stdout" and content is not None:
            _copy(content, sys.stdout.buffer)
            sys.stdout.flush()
        elif member.name == "attempts" and content is not None and job.command.attempts is not None:
            os.write(job.command.attempts, content.read())
        elif member.name in wanted:
            path = os.path.join(job.out, member.name.partition("/")[2])
            if content is None:
                os.mkdir(path)  # the output is not a regular file; `enter` reports that
                continue
            with open(path, "wb") as file:
                _copy(content, file)
    if report is None:
        return None
    if "missing" in report:
        raise CommandNotStarted(job.command.argv[0], report["missing"])
    return report["status"]


def _copy(source: IO[bytes], target: BinaryIO) -> None:
    for block in iter(lambda: source.read(1 << 20), b""):
        target.write(block)


def _remove(client: Client, name: str, tries: int = 2) -> None:
    """Removes a container; retries, because a killed client's engine may still be creating it."""
    for number in range(tries):
        if number:
            time.sleep(_PAUSE)
        with contextlib.suppress(EngineRefused):
            if client.ask("rm", "--force", "--volumes", name).returncode == 0:
                return
