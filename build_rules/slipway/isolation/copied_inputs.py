"""Steps where nothing can be mounted: inputs are copies, and outputs are copied back.

`place` is the folder that is the command's root, the empty string for this machine's own.
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
    """Copies trees, by target, and inputs to where the step expects them, with its own `out`.

    `user` gets the folders around them, which nobody else can write to then.
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
    """A folder below /build that belongs to the step, as those around it do."""
    if not os.path.isdir(place + folder):
        _make_own(place, os.path.dirname(folder), user)
        os.mkdir(place + folder)
        if os.geteuid() == 0:
            give_to(place + folder, user)


def copy(source: str, target: str) -> None:
    """A file or a tree, with its modes.

    Hard links would be quicker, but change the time by which a tree proves to be untouched.
    """
    if not os.path.isdir(source):
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
        return
    os.makedirs(target, exist_ok=True)
    with os.scandir(source) as found:
        for child in found:
            path = os.path.join(target, child.name)
            if child.is_symlink():
                os.symlink(os.readlink(child.path), path)
            else:
                copy(child.path, path)
    # At last: the folder may be one that its own user cannot write to.
    shutil.copymode(source, target)


def lend_name_servers(etc: str) -> None:
    """Puts what this machine finds others by into `etc`, a folder of the step's own."""
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
        # After the change of the user, which makes the kernel forget it.
        isolation.die_with_parent()
        os.chdir(command.cwd)
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(command.argv[0], command.argv, dict(command.env))
    except OSError as error:
        raise StartFailed(what, error.errno or 0, isolation=chrooting) from None


def remove_tree(path: str) -> None:
    """Removes a tree of any depth, which shutil cannot; what is not there is no fault."""
    # Pants starts its processes without a PATH.
    env = {"PATH": "/usr/bin:/bin"}
    if os.geteuid() != 0:
        # Inputs are copies of folders that their own user cannot write to.
        writable = ["chmod", "-R", "-f", "u+rwx", "--", path]
        subprocess.run(writable, env=env, stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", "--", path], env=env, check=False)


def as_request(command: Command) -> Request:
    """A foreign command, which may write to the folder that it starts in."""
    return Request(command.argv, command.env, command.cwd, writable=(command.cwd,))


def take_outputs(place: str, job: Job) -> None:
    """Copies the declared outputs that are regular files; none of the folders may be a link."""
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
        # Without O_NONBLOCK, opening a pipe without a writer never returns.
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=out)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(source).st_mode):
            with os.fdopen(source, "rb", closefd=False) as file, open(target, "xb") as copied:
                shutil.copyfileobj(file, copied, 1 << 20)
    finally:
        os.close(source)
