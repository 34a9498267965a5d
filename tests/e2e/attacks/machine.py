"""Runs builds on what looks like a machine of its own, and tells what was left of that machine.

    with Machine(scratch) as machine:
        outcome = machine.run(spec)

The attacks kill and trace every process that they see.  In this process namespace they see the
build, this program, and three processes that stand for other users of the machine.  Nothing else
of the real machine is in reach, however badly a defence fails.  The program also plays the parts of
the machine that a script must not reach: listeners on loopback, a session keyring, a terminal.

It reads paths of specifications from its input, line by line, and writes each outcome to where its
specification says.  A daemon of Pants lives on from one build to the next.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import functools
import glob
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Set, Tuple

GRACE = 10.0  # seconds until a supervisor has removed what a killed build left
STEP_USER = 1000
NOBODY = 65534
_ADD_KEY, _KEYCTL = 248, 250
_JOIN, _DESCRIBE, _UNLINK, _READ = 1, 6, 9, 11
_SESSION_RING, _USER_RING = -3, -4
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Outcome:
    """What the build said, and what an attack did to the machine.

    `connections` are the texts that reached a listener; `stopped` and `leftovers` are command lines;
    `slowest` is how many seconds it took at most to start a program meanwhile.
    `victims` maps a user to the state of its process, `keys` are those of scripts in keyrings.
    """

    code: int = -1
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    timed_out: bool = False
    connections: List[str] = field(default_factory=list)
    victims: Dict[str, str] = field(default_factory=dict)
    stopped: List[str] = field(default_factory=list)
    leftovers: List[str] = field(default_factory=list)
    keys: List[str] = field(default_factory=list)
    typed: str = ""
    slowest: float = 0.0


class Machine:
    """The namespace, as the tests see it: builds run in it one after the other.

    `groups` are control groups, by their folders, that all of its processes are in.
    """

    def __init__(self, scratch: Path, groups: Sequence[Path] = ()) -> None:
        self._scratch = scratch

        def enter() -> None:
            for group in groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        flags = ["--pid", "--fork", "--mount-proc", "--kill-child"]
        self._process = subprocess.Popen(
            ["unshare", *as_root, *flags, sys.executable, os.path.abspath(__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=enter,  # noqa: PLW1509  (the child execs at once)
        )

    def run(self, spec: Dict[str, Any]) -> Outcome:
        path, result = self._scratch / "spec.json", self._scratch / "result.json"
        path.write_text(json.dumps({**spec, "result": str(result)}))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer == "done", f"the machine of the attacks ended: {answer}"
        return Outcome(**json.loads(result.read_text()))

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the namespace, and with it every process that the builds have left."""
        self._process.kill()
        self._process.communicate()


def main() -> int:
    """Process 1 of the namespace takes in orphans; its child does the work."""
    worker = os.fork()
    if worker == 0:
        try:
            for line in sys.stdin:
                with open(line.strip(), encoding="utf-8") as file:
                    spec = json.load(file)
                outcome = run(spec)
                with open(spec["result"], "w", encoding="utf-8") as file:
                    json.dump(asdict(outcome), file)
                print("done", flush=True)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    while True:
        pid, _ = os.wait()
        if pid == worker:
            return 0


def run(spec: Dict[str, Any]) -> Outcome:
    outcome = Outcome()
    join_keyring(spec["key"], spec["canary"])
    with contextlib.ExitStack() as held:
        for listener in listeners(spec):
            held.callback(listener.close)
            # Closing does not wake a thread that accepts: it would go on for the next build.
            held.callback(listener.shutdown, socket.SHUT_RDWR)
            thread = threading.Thread(
                target=serve, args=(listener, spec["canary_file"], outcome.connections), daemon=True
            )
            thread.start()
        victims = start_victims(spec)
        terminal, line = pty.openpty()
        set_raw(line)
        watching = threading.Event()
        watcher = threading.Thread(target=watch, args=(outcome, watching), daemon=True)
        watcher.start()
        before = processes()
        run_build(spec, line, outcome)
        watching.set()
        watcher.join()
        outcome.typed = typed(line)
        os.close(terminal)
        outcome.victims = {name: state_of(victim.pid) for name, victim in victims.items()}
        outcome.leftovers = sorted(map(command_of, leftovers(before, spec["cwd"])))
        for victim in victims.values():
            victim.kill()
            victim.wait()
    outcome.keys = foreign_keys(spec)
    return outcome


def leftovers(before: Set[int], workspace: str) -> Set[int]:
    """Processes that a build has left, after a while in which supervisors may still clean up."""
    deadline = time.monotonic() + GRACE
    while True:
        left = processes() - before - daemons(workspace)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def daemons(workspace: str) -> Set[int]:
    """The daemon of Pants, which stays for the next build."""
    found = set()
    for path in glob.glob(f"{workspace}/.pids/*/pantsd/pid"):
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            found.add(int(file.read()))
    return found


def run_build(spec: Dict[str, Any], line: int, outcome: Outcome) -> None:
    """Runs the command with `line` as its controlling terminal; its output goes to pipes."""

    def become() -> None:
        os.setsid()
        fcntl.ioctl(line, termios.TIOCSCTTY, 0)
        os.umask(0o022)
        if spec.get("uid") is not None:
            os.setgroups([])
            os.setgid(spec["gid"])
            os.setuid(spec["uid"])

    started = time.monotonic()
    with subprocess.Popen(
        spec["command"],
        cwd=spec["cwd"],
        env=spec["env"],
        stdin=line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=become,  # noqa: PLW1509  (the child execs at once)
    ) as build:
        try:
            stdout, stderr = build.communicate(timeout=spec["seconds"])
        except subprocess.TimeoutExpired:
            outcome.timed_out = True
            own = {1, os.getpid()}  # and no victim: each build has its own
            for pid in processes() - own:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            stdout, stderr = build.communicate()
    outcome.seconds = time.monotonic() - started
    outcome.code = build.returncode
    outcome.stdout = stdout.decode("utf-8", "surrogateescape")
    outcome.stderr = stderr.decode("utf-8", "surrogateescape")


# --- Processes.


def processes() -> Set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read(400).replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def state_of(pid: int) -> str:
    """The letter by which /proc tells what a process does; Z and X are those that have ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0].decode()
    return "X"


def start_victims(spec: Dict[str, Any]) -> Dict[str, subprocess.Popen[bytes]]:
    """Processes of the other users of the machine: of the user that steps run as, and of the user who builds."""
    # Inside, where steps run as user 1000 of this very machine, its other processes are refused.
    stranger = NOBODY if spec["isolator"] == "inside" else STEP_USER
    users = {f"user {stranger}": stranger, "who builds": spec["builder"]}
    return {
        name: subprocess.Popen(["sleep", "100000"], preexec_fn=functools.partial(_become, uid))  # noqa: PLW1509
        for name, uid in users.items()
    }


def _become(uid: int) -> None:
    with contextlib.suppress(OSError):  # a plain user's namespace has one user alone
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


def watch(outcome: Outcome, done: threading.Event) -> None:
    """Notes processes that somebody has stopped, and how well the machine answers."""
    while not done.wait(0.1):
        outcome.slowest = max(outcome.slowest, seconds_to_start())
        for pid in processes():
            if state_of(pid) == "T":
                command = command_of(pid)
                if command and "attack.py" not in command and command not in outcome.stopped:
                    outcome.stopped.append(command)


def seconds_to_start() -> float:
    """How long it takes to start a program; much longer where none can be started."""
    started = time.monotonic()
    try:
        subprocess.run(["true"], timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 120.0
    return time.monotonic() - started


# --- What a script must not reach.


def listeners(spec: Dict[str, Any]) -> Iterator[socket.socket]:
    """Loopback of both kinds, an address of the machine, and Unix sockets with a name and a path."""
    places: Sequence[Tuple[int, Any]] = (
        (socket.AF_INET, ("127.0.0.1", spec["port"])),
        (socket.AF_INET6, ("::1", spec["port"])),
        (socket.AF_INET, (spec["outer_address"], spec["outer_port"])),
        (socket.AF_UNIX, f"\0{spec['abstract']}"),
        (socket.AF_UNIX, spec["socket"]),
    )
    for family, address in places:
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError:
            listener.close()  # a machine without IPv6
            continue
        if family == socket.AF_UNIX and not str(address).startswith("\0"):
            os.chmod(address, 0o777)
        listener.listen()
        yield listener


def serve(listener: socket.socket, canary_file: str, connections: List[str]) -> None:
    """Hands an open file of the user who builds to every client, and notes what the client sends."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.settimeout(1)
            if listener.family == socket.AF_UNIX:
                with open(canary_file, "rb") as file:
                    rights = array.array("i", [file.fileno()])
                    connection.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            name = listener.getsockname()
            text = connection.recv(200).decode(errors="replace").strip()
            connections.append(f"{name}: {text}")


def set_raw(line: int) -> None:
    """No line editing: what is typed can be read at once."""
    attributes = termios.tcgetattr(line)
    attributes[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(line, termios.TCSANOW, attributes)


def typed(line: int) -> str:
    os.set_blocking(line, False)
    try:
        return os.read(line, 100).decode(errors="replace")
    except BlockingIOError:
        return ""
    finally:
        os.close(line)


# --- Keyrings: keyctl(2), of which the C library has nothing.


def _call(number: int, *arguments: Any) -> int:
    sent = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *sent))


def join_keyring(name: str, secret: str) -> None:
    """Gives this process a session keyring of its own with a key in it."""
    _call(_KEYCTL, _JOIN, ctypes.c_char_p(f"ring-{name}".encode()))
    value = secret.encode()
    arguments = (ctypes.c_char_p(b"user"), ctypes.c_char_p(name.encode()))
    _call(_ADD_KEY, *arguments, ctypes.c_char_p(value), len(value), _SESSION_RING)


def _keys_of(ring: int) -> Iterator[Tuple[int, str]]:
    buffer = array.array("i", bytes(4096))
    address, _ = buffer.buffer_info()
    size = _call(_KEYCTL, _READ, ring, ctypes.c_void_p(address), 4096)
    for key in buffer[: max(size, 0) // 4]:
        text = ctypes.create_string_buffer(400)
        _call(_KEYCTL, _DESCRIBE, key, text, 400)
        yield key, text.value.decode(errors="replace")


def foreign_keys(spec: Dict[str, Any]) -> List[str]:
    """Keys that scripts have added, in the session's keyring and in the keyring of the step's user."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        found = [
            text
            for key, text in _keys_of(_SESSION_RING)
            if spec["run"] in text and "marked" in text
        ]
        for uid in (spec["builder"], STEP_USER):
            with contextlib.suppress(OSError):
                os.setresuid(uid, uid, 0)
            for key, text in _keys_of(_USER_RING):
                if "marked" in text and spec["run"] in text:
                    found.append(text)
                    _call(_KEYCTL, _UNLINK, key, _USER_RING)
            with contextlib.suppress(OSError):
                os.setresuid(0, 0, 0)
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    kept: List[str] = json.loads(answer or b"[]")
    return kept


if __name__ == "__main__":
    sys.exit(main())
