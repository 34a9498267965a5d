"""What starts in the runner's environment whenever Pants itself has to run in Python.

Pants' native client calls it when no daemon answers, and the daemon is the same script again. It is
the one place that every Python process of Pants passes, so the lock that says "a Pants of this
workspace lives" is taken here, and what killed ones left behind is removed here. A copy of this file
lies in the environment, as the module `slipway_serve`.
"""

import fcntl
import locale
import os
import re
import shutil
import sys
import time
from typing import List, Match, Optional

LOCK_NAME = ".slipway-lock"
ROOT_VARIABLE = "PANTS_LOCAL_EXECUTION_ROOT_DIR"

# What Pants makes in its execution folder, and removes itself unless it is killed.
LEFT_BEHIND = ("immutable_inputs", "pants-sandbox-", "process-execution")
CANARY = ".hardlink_canary"

# A sandbox that the user asked Pants to keep has this file; it is spared for a week.
KEPT_MARK = "__run.sh"
KEPT_SECONDS = 7 * 24 * 3600


def hold(root: str) -> Optional[int]:
    """Says that a Pants lives in `root`, for as long as the result stays open.

    Nobody else there: what dead ones left is removed first. None: the folder is not the runner's
    own, or its file system has no locks, and then nothing in it is touched.
    """
    try:
        # Not inherited by children: an application that outlives Pants must not count as one.
        lock = os.open(os.path.join(root, LOCK_NAME), os.O_RDWR)
    except OSError:
        return None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            sweep(root)
        fcntl.flock(lock, fcntl.LOCK_SH)
    except OSError:
        os.close(lock)
        return None
    return lock


def sweep(root: str) -> None:
    """Removes what dead Pants processes left in `root`; the caller holds its lock alone."""
    mounted = mount_points()
    for name in os.listdir(root):
        path = os.path.join(root, name)
        if not (name.startswith(LEFT_BEHIND) or name.endswith(CANARY)):
            continue
        # Something mounted in there belongs to others: never delete through a mount.
        if any(point.startswith(path + "/") for point in mounted) or recently_kept(path):
            continue
        remove_tree(path)


def remove_tree(path: str) -> None:
    """Removes a file or folder, also one without write bits; what cannot be removed stays."""
    if os.path.islink(path) or not os.path.isdir(path):
        try:
            os.unlink(path)
        except OSError:
            pass
        return
    open_folder(path)
    for folder, names, _files in os.walk(path):
        for name in names:
            open_folder(os.path.join(folder, name))
    shutil.rmtree(path, ignore_errors=True)


def open_folder(path: str) -> None:
    # Inputs of a process are folders that nothing can be removed from. A link is left alone:
    # chmod would follow it.
    try:
        if not os.path.islink(path):
            os.chmod(path, 0o700)
    except OSError:
        pass


def recently_kept(path: str) -> bool:
    try:
        made = os.stat(os.path.join(path, KEPT_MARK)).st_mtime
    except OSError:
        return False
    return time.time() - made < KEPT_SECONDS


def mount_points() -> List[str]:
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            fields = [line.split(b" ")[4] for line in table]
    except (OSError, IndexError):
        return []
    return [os.fsdecode(re.sub(rb"\\([0-7]{3})", from_octal, field)) for field in fields]


def from_octal(match: Match[bytes]) -> bytes:
    # The kernel writes blank, tab, newline and backslash so.
    return bytes([int(match.group(1), 8)])


def speak_utf8() -> None:
    """Starts the interpreter anew in its UTF-8 mode where the locale has another encoding.

    Pants refuses those locales, but only its own messages depend on them.
    """
    if locale.getpreferredencoding(False).lower().replace("-", "") != "utf8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.argv])


def main() -> None:
    speak_utf8()
    root = os.environ.get(ROOT_VARIABLE)
    # The name is kept: closing the descriptor would give the lock up.
    _held = hold(root) if root else None
    from pants.bin import pants_loader  # noqa: PLC0415  (only the environment has it)

    pants_loader.main()


if __name__ == "__main__":
    main()
