"""The start script of every Python process of Pants in the runner's environment.

The native client of Pants starts it if no daemon answers, and the daemon is the same script. So
this script takes the lock that marks a running Pants of this workspace, and removes files that
killed processes left. The environment has a copy of this file, as the module `slipway_serve`.
"""

import fcntl
import locale
import os
import re
import shutil
import sys
import time
from typing import Any, List, Match, Optional

KNOWN_PANTS = "2.17.1"
LOCK_NAME = ".slipway-lock"
ROOT_VARIABLE = "PANTS_LOCAL_EXECUTION_ROOT_DIR"

# Entries that Pants creates in its execution root, and removes unless it is killed.
LEFT_BEHIND = ("immutable_inputs", "pants-sandbox-", "process-execution")
CANARY = ".hardlink_canary"

# A sandbox that Pants keeps at the user's request has this file. It stays for a week.
KEPT_MARK = "__run.sh"
KEPT_SECONDS = 7 * 24 * 3600


def hold(root: str) -> Optional[int]:
    """Locks `root` for a running Pants; the lock lasts while the returned descriptor is open.

    If no other Pants is running, files of killed processes are removed first. Returns None, and
    changes nothing, if the runner did not create the folder or its file system has no locks.
    """
    try:
        # Children do not inherit the descriptor, because an application that outlives Pants must
        # not keep the lock.
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
    """Removes files of killed Pants processes in `root`; the caller has the exclusive lock."""
    mounted = mount_points()
    for name in os.listdir(root):
        path = os.path.join(root, name)
        if not (name.startswith(LEFT_BEHIND) or name.endswith(CANARY)):
            continue
        # Never delete through a mount, because the mounted files belong to others.
        if any(point.startswith(path + "/") for point in mounted) or recently_kept(path):
            continue
        remove_tree(path)


def remove_tree(path: str) -> None:
    """Removes a file or a folder, also without write permission; ignores errors."""
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
    # Pants makes immutable inputs read-only, so nothing can be removed from them before this. A
    # symlink is skipped, because chmod follows it.
    try:
        if not os.path.islink(path):
            os.chmod(path, 0o700)
    except OSError:
        pass


def recently_kept(path: str) -> bool:
    try:
        created = os.stat(os.path.join(path, KEPT_MARK)).st_mtime
    except OSError:
        return False
    return time.time() - created < KEPT_SECONDS


def mount_points() -> List[str]:
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            fields = [line.split(b" ")[4] for line in table]
    except (OSError, IndexError):
        return []
    return [os.fsdecode(re.sub(rb"\\([0-7]{3})", from_octal, field)) for field in fields]


def from_octal(match: Match[bytes]) -> bytes:
    # In mountinfo, the kernel writes space, tab, newline and backslash as octal escapes.
    return bytes([int(match.group(1), 8)])


def speak_utf8() -> None:
    """Restarts the interpreter in UTF-8 mode if the locale has another encoding.

    Pants rejects such locales, although only its messages depend on the encoding.
    """
    if locale.getpreferredencoding(False).lower().replace("-", "") != "utf8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.argv])


def build_plugin_rules_on_demand() -> None:
    """Makes Pants build the rules that install plugins only if the configuration names plugins.

    At each start, Pants 2.17.1 builds the rule graph of its whole Python backend for this, which takes
    longer than the rest of a start. Slipway itself is on the `pythonpath` and needs no installation.
    """
    from pants.version import VERSION  # noqa: PLC0415

    if VERSION != KNOWN_PANTS:
        return
    from pants.bin.pants_loader import PantsLoader  # noqa: PLC0415

    # As Pants itself does before it imports its own modules.
    PantsLoader.setup_warnings()
    from pants.init import options_initializer, plugin_resolver  # noqa: PLC0415

    build = options_initializer.create_bootstrap_scheduler
    resolve = plugin_resolver.PluginResolver._resolve_plugins

    class OnDemand:
        def __init__(self, *arguments: Any) -> None:
            self.arguments = arguments
            self.made: Any = None

        @property
        def scheduler(self) -> Any:
            if self.made is None:
                self.made = build(*self.arguments)
            return self.made.scheduler

    def resolve_plugins(self: Any, options: Any, *more: Any) -> Any:
        if options.bootstrap_options.for_global_scope().plugins:
            return resolve(self, options, *more)
        return plugin_resolver.ResolvedPluginDistributions()

    setattr(options_initializer, "create_bootstrap_scheduler", OnDemand)  # noqa: B010
    setattr(plugin_resolver.PluginResolver, "_resolve_plugins", resolve_plugins)  # noqa: B010


def main() -> None:
    speak_utf8()
    root = os.environ.get(ROOT_VARIABLE)
    # The descriptor stays open, because closing it releases the lock.
    _held = hold(root) if root else None
    from pants.bin import pants_loader  # noqa: PLC0415  (only the environment has it)

    build_plugin_rules_on_demand()
    pants_loader.main()


if __name__ == "__main__":
    main()
