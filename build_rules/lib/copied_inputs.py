"""Steps where nothing can be mounted: inputs are copies, and outputs are copied back.

`place` is the folder that is the command's root, the empty string for this machine's own.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
from typing import Mapping, Sequence

from build_rules.lib import isolation
from build_rules.lib.isolation import (
    MOST_PROCESSES,
    OPEN_FILES,
    USER_ID,
    Command,
    IsolationRefused,
    Job,
    Mount,
)
from build_rules.lib.supervision import StartFailed

BUILD = "/build"
_PR_SET_NO_NEW_PRIVS = 38


def lay_out_inputs(place: str, trees: Mapping[str, str], inputs: Sequence[Mount]) -> None:
    """Copies trees, by target, and inputs to where the step expects them, with its own `out`."""
    for target, tree in trees.items():
        if target != "/":
            _make_own(place, os.path.dirname(target))
            copy(tree, place + target)
    for mount in inputs:
        _make_own(place, os.path.dirname(mount.target))
        copy(mount.source, place + mount.target)
    _make_own(place, f"{BUILD}/out")


def give_to_step(path: str) -> None:
    try:
        os.chown(path, USER_ID, USER_ID)
    except OSError as error:
        raise IsolationRefused(f"chown to user {USER_ID}: {error.strerror}") from None


def _make_own(place: str, folder: str) -> None:
    """A folder below /build that belongs to the step, as those around it do."""
    if not os.path.isdir(place + folder):
        _make_own(place, os.path.dirname(folder))
        os.mkdir(place + folder)
        give_to_step(place + folder)


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


def become(place: str, command: Command) -> None:
    """Turns this process into the command, as the ordinary user; raises StartFailed."""
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
            os.setgroups([])
            os.setgid(USER_ID)
            os.setuid(USER_ID)
        isolation.limit(resource.RLIMIT_NPROC, MOST_PROCESSES)
        isolation.control_process(_PR_SET_NO_NEW_PRIVS, 1)
        # After the change of the user, which makes the kernel forget it.
        isolation.die_with_parent()
        os.makedirs(command.env["HOME"], exist_ok=True)
        os.chdir(command.cwd)
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(command.argv[0], command.argv, dict(command.env))
    except OSError as error:
        raise StartFailed(what, error.errno or 0, isolation=chrooting) from None


def take_outputs(place: str, job: Job) -> None:
    for name in job.outputs:
        path = os.path.join(f"{place}{BUILD}/out", name)
        target = os.path.join(job.out, name)
        if not os.path.lexists(path):
            continue
        if os.path.isfile(path) and not os.path.islink(path):
            shutil.copyfile(path, target)
        else:
            os.mkdir(target)  # something else than a file, whatever it was
