"""Copies inputs and outputs of steps, for isolators that cannot mount anything.

`place` is the folder that becomes the command's root; "" is the root of this machine.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import stat
import subprocess
from typing import Mapping, Sequence

from slipway.isolation import jails
from slipway.isolation import job as isolation
from slipway.isolation.jail_protocol import Request
from slipway.isolation.job import OPEN_FILES, Command, IsolationRefused, Job, Mount
from slipway.isolation.supervision import StartFailed

BUILD = "/build"


def lay_out_inputs(
    place: str, trees: Mapping[str, str], inputs: Sequence[Mount], user: int
) -> None:
    """Copies trees (by target) and inputs to the paths that the step expects; creates `out`.

    `user` becomes the owner of the folders around them, so that no other user can write to them.
    """
    for target, tree in trees.items():
        if target != "/":
            _make_own(place, os.path.dirname(target), user)
            copy(tree, place + target)
    for mount in inputs:
        _make_own(place, os.path.dirname(mount.target), user)
        copy(mount.source, place + mount.target)
    _make_own(place, f"{BUILD}/out", user)


def give_to(path: str, user: int) -> None:
    try:
        os.chown(path, user, user)
    except OSError as error:
        raise IsolationRefused(f"chown to user {user}: {error.strerror}") from None


def _make_own(place: str, folder: str, user: int) -> None:
    """Creates a folder below /build with its parents, owned by `user`."""
    if not os.path.isdir(place + folder):
        _make_own(place, os.path.dirname(folder), user)
        os.mkdir(place + folder)
        if os.geteuid() == 0:
            give_to(place + folder, user)


def copy(source: str, target: str) -> None:
    """Copies a file or a tree, with its modes.

    Hard links would be faster, but the kernel changes the ctime of a file when it is linked. The
    fingerprint of a cached tree contains the ctime, so the tree would look modified.
    """
    if not os.path.isdir(source):
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
        return
    os.makedirs(target, exist_ok=True)
    with os.scandir(source) as entries:
        for child in entries:
            path = os.path.join(target, child.name)
            if child.is_symlink():
                os.symlink(os.readlink(child.path), path)
            else:
                copy(child.path, path)
    # Last, because the mode may deny the owner to write to the folder.
    shutil.copymode(source, target)


def lend_name_servers(etc: str) -> None:
    """Copies the machine's host and name server files to `etc`, a folder of the step."""
    for name in ("hosts", "resolv.conf"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"/etc/{name}", os.path.join(etc, name))


def become(place: str, command: Command, user: int) -> None:
    """Turns this process into the step's program, as `user`; raises StartFailed."""
    what, chrooting = "chroot", True
    try:
        isolation.die_with_parent()
        os.setsid()
        os.umask(0o022)
        if place:
            os.chroot(place)
            os.chdir("/")
        what, chrooting = command.argv[0], False
        isolation.limit(resource.RLIMIT_NOFILE, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if os.geteuid() == 0:
            jails.become(user)
        isolation.control_process(jails.NO_NEW_PRIVILEGES, 1)
        # Again, because the kernel clears the parent-death signal when the user changes.
        isolation.die_with_parent()
        os.chdir(command.cwd)
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(command.argv[0], command.argv, dict(command.env))
    except OSError as error:
        raise StartFailed(what, error.errno or 0, isolation=chrooting) from None


def remove_tree(path: str) -> None:
    """Removes a tree of any depth, which shutil cannot do; ignores a missing tree."""
    # Pants starts its processes without a PATH.
    env = {"PATH": "/usr/bin:/bin"}
    if os.geteuid() != 0:
        # Inputs are copies of folders without write permission for their owner, and rm needs it.
        writable = ["chmod", "-R", "-f", "u+rwx", "--", path]
        subprocess.run(writable, env=env, stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", "--", path], env=env, check=False)


def as_request(command: Command) -> Request:
    """The request for a foreign command, which may write to its working folder."""
    return Request(command.argv, command.env, command.cwd, writable=(command.cwd,))


def take_outputs(place: str, job: Job) -> None:
    """Copies declared outputs that are regular files; follows no symlink on the way."""
    try:
        out = _open_folders(place or "/", *f"{BUILD}/out".strip("/").split("/"))
    except OSError:
        return
    try:
        for name in job.outputs:
            _take(out, name, os.path.join(job.out, name))
    finally:
        os.close(out)


def _open_folders(top: str, *names: str) -> int:
    folder = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for name in names:
        try:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _take(out: int, name: str, target: str) -> None:
    try:
        # Without O_NONBLOCK, open() of a pipe without a writer never returns.
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=out)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(source).st_mode):
            with os.fdopen(source, "rb", closefd=False) as file, open(target, "xb") as copied:
                shutil.copyfileobj(file, copied, 1 << 20)
    finally:
        os.close(source)
