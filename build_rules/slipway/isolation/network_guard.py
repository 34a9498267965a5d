"""Blocks network access of a build step except to loopback, and reports every attempt.

A seccomp filter passes the system calls that can reach the network to a thread of this process. The
thread reads the address, allows loopback and Unix sockets, and denies everything else. It learns
host names from the queries to name servers. If the step has no network anyway, a call fails with
the same error as without the guard, so that results do not depend on the guard.

The guard catches accidents, not attacks: a hostile process can change the address in its memory
after the check. Namespaces and containers without network stop attackers. The package in a report
comes from the step, and a script cannot change it with its environment.
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
"""The name of the report file, beside the outputs of a step."""

_OLDEST_KERNEL = (5, 5)
_SYS_PIDFD_OPEN, _SYS_PIDFD_GETFD = 434, 438
_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102
_GO_ON = 1
_PRETEND = -1  # answer that the call succeeded, without making it
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
    """What the guard needs to know about an isolator.

    `user` is the user and group of the guarded processes, if they differ from those of this process.
    `neighbours` is None if the step has its own loopback interface. Otherwise, it has the users whose
    sockets a step may reach on the loopback interface of the machine.
    """

    user: Optional[int] = None
    neighbours: Optional[FrozenSet[int]] = None


OWN_LOOPBACK = Surroundings()


class Attempt(NamedTuple):
    """A blocked attempt to reach `target`: a host name, `address:port`, or a kind of socket.

    `command` is the command line of the process; the other values come from the Subject.
    """

    target: str
    command: str
    package: str = ""
    version: str = ""
    event: str = ""
    script: str = ""


class Report(NamedTuple):
    """The report of the guard for a step; `refused` says why there was no guard, if so."""

    attempts: Tuple[Attempt, ...] = ()
    refused: str = ""


class GuardRefused(Exception):
    """The guard does not work with this kernel or in this container; the text says why."""


def guarded_fork(
    become: Callable[[], None],
    report: Callable[[Attempt], None],
    subject: Subject = NOBODY,
    surroundings: Surroundings = OWN_LOOPBACK,
) -> int:
    """Forks a child that calls `become` under the guard; returns its process ID.

    `report` is called in a thread of this process, once for each distinct attempt. Raises
    GuardRefused.
    """
    _require_kernel(os.uname().release)
    try:
        child, listener = _filtered_fork(become, notify=True)
    except OSError as error:
        raise GuardRefused(os.strerror(error.errno or 0)) from None
    assert listener is not None
    guard = _Guard(listener, report, subject, surroundings)
    threading.Thread(target=guard.serve, daemon=True).start()
    return child


def _filtered_fork(become: Callable[[], None], *, notify: bool) -> Tuple[int, Optional[int]]:
    """Forks a child under the filter; returns its ID, and the descriptor for the guard.

    A filter applies to the thread that installs it and to its children, so a new thread installs it
    and forks. The thread never ends, because for the kernel the parent of a child is a thread: its
    end would trigger the child's parent-death signal.
    """
    children: List[Tuple[int, Optional[int]]] = []
    failed: List[OSError] = []
    forked, forever = threading.Event(), threading.Event()

    def fork() -> None:
        try:
            listener = syscall_filter.install(notify=notify)
            children.append((_fork(become), listener))
        except OSError as error:
            failed.append(error)
        forked.set()
        if children:
            forever.wait()

    threading.Thread(target=fork, daemon=True).start()
    forked.wait()
    if failed:
        raise failed[0]
    return children[0]


def _require_kernel(release: str) -> None:
    """Raises GuardRefused before Linux 5.5, whose seccomp cannot let a notified call continue."""
    match = re.match(r"([0-9]+)\.([0-9]+)", release)
    if not match or tuple(map(int, match.groups())) < _OLDEST_KERNEL:
        raise GuardRefused(f"needs Linux 5.5 or newer, but this is {release}")


def guarded_child(
    become: Callable[[], None],
    attempts: Optional[int],
    subject: Subject = NOBODY,
    surroundings: Surroundings = OWN_LOOPBACK,
) -> int:
    """As guarded_fork, but writes attempts as lines of JSON to the descriptor `attempts`.

    Without a descriptor, the network is not guarded. If the guard does not work, a line says so,
    and the child runs without it. The filter denies other calls in every case.
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
    """Reads the lines of guarded_child: each attempt once, in an order independent of time."""
    records = [json.loads(line) for line in lines.splitlines()]
    attempts = sorted({Attempt(**record) for record in records if "refused" not in record})
    refused = [record["refused"] for record in records if "refused" in record]
    return Report(tuple(attempts), refused[0] if refused else "")


def as_json(report: Report) -> str:
    attempts = [attempt._asdict() for attempt in report.attempts]
    return json.dumps({"attempts": attempts, "refused": report.refused}, indent=1) + "\n"


def read_json(text: str) -> Report:
    document = json.loads(text)
    attempts = tuple(Attempt(**record) for record in document["attempts"])
    return Report(attempts, document["refused"])


def _write_line(descriptor: int, record: Dict[str, str]) -> None:
    os.write(descriptor, json.dumps(record).encode() + b"\n")


# --- The thread that answers.


class _Notification(NamedTuple):
    id: int
    pid: int
    number: int
    arguments: Tuple[int, ...]


class _Interfaces:
    """Recognizes the netlink query of glibc for the addresses of this machine.

    If a machine has only loopback addresses, as in a step, glibc does not look up names at all, and
    the guard would not learn them. If the query fails, glibc does look them up. A program that
    lists interfaces queries links first, and must get an answer.
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
        report: Callable[[Attempt], None],
        subject: Subject,
        surroundings: Surroundings,
    ) -> None:
        self._listener = listener
        self._report = report
        self._subject = subject
        self._surroundings = surroundings
        self._reported: Set[Attempt] = set()
        self._interfaces = _Interfaces()

    def serve(self) -> None:
        if self._surroundings.user is not None:
            _look_as(self._surroundings.user)
        while True:
            buffer = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, buffer)
            except OSError as error:
                # ENOENT: the calling process was killed before the notification was read.
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return
            fields = _NOTIFICATION.unpack(buffer)
            self._answer(_Notification(fields[0], fields[1], fields[3], tuple(fields[6:])))

    def _answer(self, call: _Notification) -> None:
        try:
            denied, target = self._judge(call)
        except OSError:
            denied, target = errno.EFAULT, ""  # the kernel cannot read this address either
        if target:
            self._note(call, target)
        if denied == _PRETEND:
            answer = _ANSWER.pack(call.id, 0, 0, 0)
        else:
            answer = _ANSWER.pack(call.id, 0, -denied, 0 if denied else _GO_ON)
        with contextlib.suppress(OSError):  # the process was killed before the answer
            fcntl.ioctl(self._listener, _SEND, answer)

    def _note(self, call: _Notification, target: str) -> None:
        attempt = Attempt(target, _command(call.pid), *self._who(call.pid))
        if attempt not in self._reported and len(self._reported) < _MOST_ATTEMPTS:
            self._reported.add(attempt)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._listener, _IS_VALID, struct.pack("=Q", call.id))
                self._report(attempt)

    def _who(self, pid: int) -> Tuple[str, str, str, str]:
        package, version, scripts = self._subject
        event = _event(pid)
        if event not in scripts:
            event = min(scripts, default="") if len(scripts) == 1 else ""
        return package, version, event, scripts.get(event, "")

    def _judge(self, call: _Notification) -> Tuple[int, str]:
        """The errno for the call (or 0 to let it continue, or _PRETEND), and a target to report."""
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
            # connect() of a datagram socket sends nothing. Only the following query has the name.
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
        # Names without a dot are host names of this machine or misspelt options: not reported.
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
            return errno.ECONNREFUSED, ""  # the machine shares names of abstract Unix sockets
        else:
            # A Unix socket, AF_UNSPEC to end an association, or an address that the kernel rejects.
            return 0, ""
        port = struct.unpack_from("!H", address, 2)[0]
        if not (host.is_loopback or host.is_unspecified):
            return errno.ENETUNREACH, f"{shown}:{port}"
        if neighbours is not None and not _listens(port, neighbours):
            return errno.ECONNREFUSED, ""
        return 0, ""


def _listens(port: int, users: FrozenSet[int]) -> bool:
    """Whether sockets on this port exist, and all of them belong to these users."""
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
    """Gives this thread the rights of `user` for files, to read /proc of that user's processes.

    The kernel lets only the same user read the memory of a process, or a capability that containers
    lack. The file system user is a property of the thread, and it gives no other process the right
    to signal or trace this process.
    """
    _libc.setfsgid(user)
    _libc.setfsuid(user)


def question(message: bytes) -> Optional[str]:
    """The host name in a query to a name server; None for any other message."""
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
    """Reads memory of another process; fewer bytes if its mapping ends earlier."""
    buffer = ctypes.create_string_buffer(size)
    here = struct.pack("=QQ", ctypes.addressof(buffer), size)
    there = struct.pack("=QQ", place, size)
    copied = _libc.process_vm_readv(pid, here, 1, there, 1, 0)
    if copied >= 0:
        return buffer.raw[:copied]
    # The seccomp profile of older Docker engines denies process_vm_readv, but not /proc/PID/mem.
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        return os.pread(memory, size, place)
    finally:
        os.close(memory)


def _is_stream(pid: int, descriptor: int) -> bool:
    """Whether the descriptor is a stream socket; False if it cannot be examined."""
    process = _libc.syscall(ctypes.c_long(_SYS_PIDFD_OPEN), pid, 0)
    if process < 0:
        return False
    try:
        copy = _libc.syscall(ctypes.c_long(_SYS_PIDFD_GETFD), process, descriptor, 0)
        if copy < 0:
            return False
        with socket.socket(fileno=copy) as sock:
            return sock.type == socket.SOCK_STREAM
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
    """The npm event in the environment of a process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        for line in file.read().decode(errors="replace").split("\0"):
            name, _, value = line.partition("=")
            if name == "npm_lifecycle_event":
                return value
    return ""
