"""What the scripts of all attacks share: notes of what they reached, raw system calls, processes.

This file goes into each hostile package, beside `attack.py` and `attack.json`.  A script writes
`found.json` into its package's folder, or to where `attack.json` says, which a build takes along:
`reached` lists what it got hold of and should not have.  It prints the same, for scripts whose
failure is the attack.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import time
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

FOLDER = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(FOLDER, "attack.json"), encoding="utf-8") as _file:
    CONFIG: Dict[str, Any] = json.load(_file)
TOKEN: str = CONFIG["token"]
OUT = "/build/out"
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LIBC.ptrace.argtypes = [ctypes.c_long] * 4
LIBC.ptrace.restype = ctypes.c_long

# Numbers of x86-64; the C library of the image knows fewer names.
PIDFD_SEND_SIGNAL, PIDFD_OPEN, PIDFD_GETFD = 424, 434, 438
IO_URING_SETUP, IO_URING_ENTER = 425, 426
ADD_KEY, KEYCTL = 248, 250

_found: Dict[str, Any] = {"ran": True, "reached": [], "notes": {}}


def _save() -> None:
    path = CONFIG.get("report") or os.path.join(FOLDER, "found.json")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".part", "w", encoding="utf-8") as file:
            json.dump(_found, file)
        os.rename(path + ".part", path)
    except OSError:
        pass  # the attack has made its own folder useless


def reached(what: str) -> None:
    """Notes that the script got hold of something that is not its own."""
    if what not in _found["reached"]:
        _found["reached"].append(what)
        print(f"REACHED {TOKEN} {what}", flush=True)
        _save()


def note(name: str, value: object) -> None:
    """Notes a fact that explains an outcome but is not an outcome."""
    _found["notes"][name] = value
    _save()


def word_of(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def attempt(what: str, act: Callable[[], object]) -> object:
    """Calls `act`; notes its error by name and gives None then."""
    try:
        return act()
    except OSError as error:
        note(what, word_of(error))
    except Exception as error:
        note(what, repr(error))
    return None


def call(number: int, *arguments: Any) -> Tuple[int, int]:
    """A raw system call: its result, and the error's number if that is negative."""
    sent = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    done = LIBC.syscall(ctypes.c_long(number), *sent)
    return done, ctypes.get_errno() if done < 0 else 0


def name_of(number: int) -> str:
    return errno.errorcode.get(number, str(number))


# --- Processes.


def command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(400).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def is_trusted(command: str) -> bool:
    """Whether that is a process of the build tool: a program of a step, or what started it."""
    return (
        "slipway/step/programs/" in command
        or "/build/slipway" in command
        or "container_side" in command
    )


def family() -> Set[int]:
    """This process, npm and the shells above it up to the build tool's own, and its children."""
    own = {os.getpid()}
    pid = os.getppid()
    while pid > 1 and not is_trusted(command_of(pid)) and command_of(pid):
        own.add(pid)
        pid = parent_of(pid)
    return own


def visible() -> List[int]:
    """Processes that this script sees; without /proc, those that the kernel knows by number."""
    if os.path.exists("/proc/self/stat"):
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    known = []
    for pid in range(1, max(os.getpid(), os.getppid()) + 600):
        try:
            os.getpgid(pid)
            known.append(pid)
        except OSError:
            pass
    return known


def others() -> List[int]:
    """Visible processes outside of the script's own family."""
    own = family()
    if not os.path.exists("/proc/self/stat"):
        # npm, which started the script, and the threads of both: they are in one session.
        own |= {pid for pid in visible() if _session_of(pid) == os.getsid(0)}
    return [pid for pid in visible() if pid not in own and parent_of(pid) not in {os.getpid()}]


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def program() -> Optional[int]:
    """The step's own program, which will write the outputs once the scripts are done."""
    for pid in visible():
        if pid != 1 and "/build/slipway" in command_of(pid):
            return pid
    # Without /proc: the program leads the session that the script's npm was started from.
    pid = os.getppid()
    while pid > 1 and os.path.exists("/proc/self/stat"):
        pid = parent_of(pid)
    return None if os.path.exists("/proc/self/stat") else _leader()


def _leader() -> Optional[int]:
    sessions = set()
    for pid in visible():
        try:
            sessions.add(os.getsid(pid))
        except OSError:
            continue
    own = os.getsid(0)
    before = [one for one in sessions if 1 < one < own]
    return max(before) if before else None


def detach() -> bool:
    """Leaves a daemon behind: True in it, False in the script, which goes on."""
    if os.fork():
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    nothing = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    return True


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


_save()
