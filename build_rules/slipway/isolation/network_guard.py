"""Reports who in a build step tried to reach what, and lets nothing past loopback.

A seccomp filter hands the few system calls that open a way out to a thread of this process, which
reads the address, lets loopback and Unix sockets go on, and refuses the rest.  Names are seen as
the questions to a name server that they begin with.  Where the step has no network anyway, a call
fails as it would without the guard, so that results do not depend on it.

The guard catches accidents: between its look and the call, a hostile process may change an address
in its memory.  Namespaces and containers without a network stop attackers.  Which package a report
names is what the step knows; nothing that a script writes into its environment changes it.
Sources: seccomp(2), seccomp_unotify(2), proc(5), RFC 1035.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import json
import os
import re
import socket
import struct
import threading
from typing import (
    Callable,
    Dict,
    FrozenSet,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from slipway.isolation import syscall_filter
from slipway.isolation.jail_protocol import NOBODY, Subject
from slipway.isolation.syscall_filter import CONNECT, SENDMMSG, SENDMSG, SENDTO, SOCKET

FILE = "network.json"
"""The name of the report, beside the outputs of a step."""

_OLDEST_KERNEL = (5, 5)
_SYS_PIDFD_OPEN, _SYS_PIDFD_GETFD = 434, 438
_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102
_GO_ON = 1
_PRETEND = -1  # that the call succeeded
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_NETLINK_HEAD = struct.Struct("=IHHII")
_GET_LINKS, _GET_ADDRESSES = 18, 22
_NAME_SERVER = struct.pack("!H", 53)
_LONGEST_QUESTION = 512
_MOST_MESSAGES = 16
_MOST_ATTEMPTS = 1000
_LONGEST_COMMAND = 200
_SOCKET_TABLES = ("tcp", "tcp6", "udp", "udp6")
_libc = ctypes.CDLL(None, use_errno=True)


class Surroundings(NamedTuple):
    """What the guard must know of an isolator.

    `user` is the user and group of the guarded processes where that is another than this process's.
    `neighbours` is None where the step has a loopback interface of its own; otherwise it holds the
    users whose sockets a step may reach on the loopback interface of the machine.
    """

    user: Optional[int] = None
    neighbours: Optional[FrozenSet[int]] = None


OWN_LOOPBACK = Surroundings()


class Attempt(NamedTuple):
    """A process tried to reach `target`: `name`, or `address:port`, or a kind of socket.

    `command` is its command line; the others are the Subject's.
    """

    target: str
    command: str
    package: str = ""
    version: str = ""
    event: str = ""
    script: str = ""


class Report(NamedTuple):
    """What the guard has to say of a step: `refused` tells why there was none, if so."""

    attempts: Tuple[Attempt, ...] = ()
    refused: str = ""


class GuardRefused(Exception):
    """This kernel, or what this process runs in, does not offer the guard; the text says why."""


def guarded_fork(
    become: Callable[[], None],
    tell: Callable[[Attempt], None],
    subject: Subject = NOBODY,
    surroundings: Surroundings = OWN_LOOPBACK,
) -> int:
    """The process ID of a child that calls `become` under guard.

    `tell` runs in a thread of this process, once for each distinct attempt.
    """
    _require_kernel(os.uname().release)
    try:
        child, listener = _filtered_fork(become, notify=True)
    except OSError as error:
        raise GuardRefused(os.strerror(error.errno or 0)) from None
    assert listener is not None
    guard = _Guard(listener, tell, subject, surroundings)
    threading.Thread(target=guard.serve, daemon=True).start()
    return child


def _filtered_fork(become: Callable[[], None], *, notify: bool) -> Tuple[int, Optional[int]]:
    """A child below the filter, and the descriptor on which the guard is asked.

    The filter is for the thread that installs it and for what that starts, so it gets a thread of
    its own. The thread stays: to the kernel, a child's parent is a thread.
    """
    made: List[Tuple[int, Optional[int]]] = []
    failed: List[OSError] = []
    forked, forever = threading.Event(), threading.Event()

    def fork() -> None:
        try:
            listener = syscall_filter.install(notify=notify)
            made.append((_fork(become), listener))
        except OSError as error:
            failed.append(error)
        forked.set()
        if made:
            forever.wait()

    threading.Thread(target=fork, daemon=True).start()
    forked.wait()
    if failed:
        raise failed[0]
    return made[0]


def _require_kernel(release: str) -> None:
    """Older ones know the filter, but not how to let a call go on: it would wait for ever."""
    found = re.match(r"([0-9]+)\.([0-9]+)", release)
    if not found or tuple(map(int, found.groups())) < _OLDEST_KERNEL:
        raise GuardRefused(f"it takes Linux 5.5 or newer, and this is {release}")


def guarded_child(
    become: Callable[[], None],
    attempts: Optional[int],
    subject: Subject = NOBODY,
    surroundings: Surroundings = OWN_LOOPBACK,
) -> int:
    """As guarded_fork, with lines of JSON written to the descriptor `attempts`.

    Without one the network is not guarded. Where there can be no guard, a line says so, and the
    child runs; the filter's other refusals hold in each case.
    """
    if attempts is not None:
        descriptor = attempts
        try:
            return guarded_fork(
                become,
                lambda attempt: _write_line(descriptor, attempt._asdict()),
                subject,
                surroundings,
            )
        except GuardRefused as refusal:
            _write_line(descriptor, {"refused": str(refusal)})
    return _filtered_fork(become, notify=False)[0]


def _fork(become: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            become()
        finally:
            os._exit(127)
    return child


def read_report(lines: bytes) -> Report:
    """What guarded_child wrote, each attempt once and in an order that does not depend on time."""
    records = [json.loads(line) for line in lines.splitlines()]
    attempts = sorted({Attempt(**one) for one in records if "refused" not in one})
    refused = [one["refused"] for one in records if "refused" in one]
    return Report(tuple(attempts), refused[0] if refused else "")


def as_json(report: Report) -> str:
    attempts = [attempt._asdict() for attempt in report.attempts]
    return json.dumps({"attempts": attempts, "refused": report.refused}, indent=1) + "\n"


def read_json(text: str) -> Report:
    record = json.loads(text)
    return Report(tuple(Attempt(**one) for one in record["attempts"]), record["refused"])


def _write_line(descriptor: int, record: Dict[str, str]) -> None:
    os.write(descriptor, json.dumps(record).encode() + b"\n")


# --- The thread that answers.


class _Notification(NamedTuple):
    id: int
    pid: int
    number: int
    arguments: Tuple[int, ...]


class _Interfaces:
    """Finds the C library's question whether this machine has any address but loopback's.

    Where it has none, as in a step, names are not even looked up, and nobody would be told which.
    Left unanswered, the library looks.  Who lists interfaces asks for their links first.
    """

    def __init__(self) -> None:
        self._listing: Set[Tuple[int, int]] = set()

    def asks(self, call: _Notification) -> bool:
        message = _read(call.pid, call.arguments[1], min(call.arguments[2], _NETLINK_HEAD.size))
        address = call.arguments[4] and _read(call.pid, call.arguments[4], 2)
        if len(message) < _NETLINK_HEAD.size or address != struct.pack("=H", _NETLINK):
            return False
        place = (call.pid, call.arguments[0])
        kind = _NETLINK_HEAD.unpack(message)[1]
        if kind == _GET_LINKS:
            self._listing.add(place)
        return kind == _GET_ADDRESSES and place not in self._listing


class _Guard:
    def __init__(
        self,
        listener: int,
        tell: Callable[[Attempt], None],
        subject: Subject,
        surroundings: Surroundings,
    ) -> None:
        self._listener = listener
        self._tell = tell
        self._subject = subject
        self._surroundings = surroundings
        self._told: Set[Attempt] = set()
        self._interfaces = _Interfaces()

    def serve(self) -> None:
        if self._surroundings.user is not None:
            _look_as(self._surroundings.user)
        while True:
            buffer = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, buffer)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):  # its caller was killed meanwhile
                    continue
                return
            fields = _NOTIFICATION.unpack(buffer)
            self._answer(_Notification(fields[0], fields[1], fields[3], tuple(fields[6:])))

    def _answer(self, call: _Notification) -> None:
        try:
            denied, target = self._judge(call)
        except OSError:
            denied, target = errno.EFAULT, ""  # the kernel could not read that either
        if target:
            self._note(call, target)
        if denied == _PRETEND:
            answer = _ANSWER.pack(call.id, 0, 0, 0)
        else:
            answer = _ANSWER.pack(call.id, 0, -denied, 0 if denied else _GO_ON)
        with contextlib.suppress(OSError):  # the process was killed meanwhile
            fcntl.ioctl(self._listener, _SEND, answer)

    def _note(self, call: _Notification, target: str) -> None:
        attempt = Attempt(target, _command(call.pid), *self._who(call.pid))
        if attempt not in self._told and len(self._told) < _MOST_ATTEMPTS:
            self._told.add(attempt)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._listener, _IS_VALID, struct.pack("=Q", call.id))
                self._tell(attempt)

    def _who(self, pid: int) -> Tuple[str, str, str, str]:
        package, version, scripts = self._subject
        event = _event(pid)
        if event not in scripts:
            event = min(scripts, default="") if len(scripts) == 1 else ""
        return package, version, event, scripts.get(event, "")

    def _judge(self, call: _Notification) -> Tuple[int, str]:
        """The error's number, 0 to let it go on, or _PRETEND; and the target, if it is reported."""
        if call.number == SENDTO and self._interfaces.asks(call):
            return errno.EPERM, ""
        judges: Dict[int, Callable[[int, Sequence[int]], Tuple[int, str]]] = {
            CONNECT: self._judge_connect,
            SENDTO: self._judge_sendto,
            SENDMSG: lambda pid, a: self._judge_header(pid, a[1]),
            SENDMMSG: self._judge_sendmmsg,
            SOCKET: lambda pid, a: (errno.EPERM, "a raw socket"),
        }
        return judges[call.number](call.pid, call.arguments)

    def _judge_connect(self, pid: int, a: Sequence[int]) -> Tuple[int, str]:
        address = _read(pid, a[1], min(a[2], 128))
        if address[2:4] == _NAME_SERVER and not _is_stream(pid, a[0]):
            # Nothing is sent by that, and the question that follows tells the name.
            return _PRETEND, ""
        return self._judge_address(address)

    def _judge_sendto(self, pid: int, a: Sequence[int]) -> Tuple[int, str]:
        address = _read(pid, a[4], min(a[5], 128)) if a[4] else b""
        return self._judge_message(address, _read(pid, a[1], min(a[2], _LONGEST_QUESTION)))

    def _judge_sendmmsg(self, pid: int, a: Sequence[int]) -> Tuple[int, str]:
        for number in range(min(a[2] & 0xFFFFFFFF, _MOST_MESSAGES)):
            denied, target = self._judge_header(pid, a[1] + 64 * number)
            if denied:
                return denied, target
        return 0, ""

    def _judge_header(self, pid: int, place: int) -> Tuple[int, str]:
        name, name_size, parts, count = struct.unpack("=QI4xQQ", _read(pid, place, 32))
        address = _read(pid, name, min(name_size, 128)) if name else b""
        message = b""
        if count:
            start, size = struct.unpack("=QQ", _read(pid, parts, 16))
            message = _read(pid, start, min(size, _LONGEST_QUESTION)) if size else b""
        return self._judge_message(address, message)

    def _judge_message(self, address: bytes, message: bytes) -> Tuple[int, str]:
        name = question(message)
        denied, target = self._judge_address(address) if address else (0, "")
        if name is None:
            return denied, target
        # Names without a dot are those of this machine or of a misspelt option.
        return denied or errno.ECONNREFUSED, name if "." in name else ""

    def _judge_address(self, address: bytes) -> Tuple[int, str]:
        family = struct.unpack_from("=H", address)[0] if len(address) >= 2 else 0
        neighbours = self._surroundings.neighbours
        if family == _INET and len(address) >= 8:
            host: ipaddress._BaseAddress = ipaddress.IPv4Address(address[4:8])
            shown = str(host)
        elif family == _INET6 and len(address) >= 24:
            six = ipaddress.IPv6Address(address[8:24])
            host, shown = six.ipv4_mapped or six, f"[{six}]"
        elif family == _UNIX and neighbours is not None and address[2:3] == b"\0":
            return errno.ECONNREFUSED, ""  # an abstract name, which the whole machine shares
        else:
            return (
                0,
                "",
            )  # a Unix socket, an end of an association, or what the kernel refuses itself
        port = struct.unpack_from("!H", address, 2)[0]
        if not (host.is_loopback or host.is_unspecified):
            return errno.ENETUNREACH, f"{shown}:{port}"
        if neighbours is not None and not _listens(port, neighbours):
            return errno.ECONNREFUSED, ""
        return 0, ""


def _listens(port: int, users: FrozenSet[int]) -> bool:
    """Whether a socket on that port is one of these users' (and none is another's)."""
    owners: Set[int] = set()
    for table in _SOCKET_TABLES:
        with contextlib.suppress(OSError), open(
            f"/proc/self/net/{table}", encoding="ascii"
        ) as file:
            for line in list(file)[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port:
                    owners.add(int(fields[7]))
    return bool(owners) and owners <= users


def _look_as(user: int) -> None:
    """Gives this thread the rights of `user` on /proc, and leaves all others as they are.

    A process may be read by its own user, or with a capability that containers lack. The user of
    file accesses is a thread's own, and gives nobody the right to signal or trace this process.
    """
    _libc.setfsgid(user)
    _libc.setfsuid(user)


def question(message: bytes) -> Optional[str]:
    """The name that a message to a name server asks for; None if it is no such message."""
    if len(message) < 17:
        return None
    _, flags, questions, answers, authorities, _ = struct.unpack_from("!6H", message)
    if flags & 0xF800 or questions != 1 or answers or authorities:
        return None
    labels: List[str] = []
    place = 12
    while place < len(message) and message[place]:
        size = message[place]
        label = message[place + 1 : place + 1 + size]
        if size > 63 or len(label) < size or not label.isascii():
            return None
        labels.append(label.decode("ascii"))
        place += 1 + size
    if not labels or place + 5 > len(message) or message[place + 3 : place + 5] != b"\0\1":
        return None
    name = ".".join(labels)
    return name if name.isprintable() else None


def _read(pid: int, place: int, size: int) -> bytes:
    """Memory of another process; fewer bytes where its mapping ends."""
    buffer = ctypes.create_string_buffer(size)
    here = struct.pack("=QQ", ctypes.addressof(buffer), size)
    there = struct.pack("=QQ", place, size)
    copied = _libc.process_vm_readv(pid, here, 1, there, 1, 0)
    if copied >= 0:
        return buffer.raw[:copied]
    # Older engines forbid that call to containers, but not this way.
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        return os.pread(memory, size, place)
    finally:
        os.close(memory)


def _is_stream(pid: int, descriptor: int) -> bool:
    """Whether that is a socket for streams; False too where nobody may look."""
    process = _libc.syscall(ctypes.c_long(_SYS_PIDFD_OPEN), pid, 0)
    if process < 0:
        return False
    try:
        copy = _libc.syscall(ctypes.c_long(_SYS_PIDFD_GETFD), process, descriptor, 0)
        if copy < 0:
            return False
        with socket.socket(fileno=copy) as found:
            return found.type == socket.SOCK_STREAM
    except OSError:
        return False
    finally:
        os.close(process)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read(4096).decode(errors="replace").split("\0")
        text = " ".join(words).strip()
        return text if len(text) <= _LONGEST_COMMAND else text[: _LONGEST_COMMAND - 1] + "…"
    return "?"


def _event(pid: int) -> str:
    """The npm event that a process says it belongs to."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        for line in file.read().decode(errors="replace").split("\0"):
            name, _, value = line.partition("=")
            if name == "npm_lifecycle_event":
                return value
    return ""
