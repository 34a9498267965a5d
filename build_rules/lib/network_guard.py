"""Tells who in a build step tried to reach what, and lets nothing past loopback.

A seccomp filter hands the few system calls that open a way out to a thread of this process, which
reads the address, lets loopback and Unix sockets go on, and refuses the rest.  Names are seen as
the questions to a name server that they begin with.  Where the step has no network anyway, a call
fails as it would without the guard, so that results do not depend on it.

What it is not: between the look and the call, a hostile process may change an address in its
memory.  This finds accidents; namespaces and containers without a network stop attackers.

One file for every isolator; also inside containers, where only the image's own CPython is, so it
imports nothing of this project.  Sources: seccomp(2), seccomp_unotify(2), RFC 1035.
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
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

FILE = "network.json"
"""What a step's own output folder holds the report as."""

_OLDEST_KERNEL = (5, 5)
_SYS_SECCOMP, _SYS_PIDFD_OPEN, _SYS_PIDFD_GETFD = 317, 434, 438
_SET_MODE_FILTER, _NEW_LISTENER = 1, 1 << 3
# Without it, kernels before 5.16 slow the whole step down: a measure against other attacks than these.
_ALLOW_SPECULATION = 1 << 2
_PR_SET_NO_NEW_PRIVS = 38
_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102
_GO_ON = 1
_PRETEND = -1  # that the call succeeded
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")

_SOCKET, _CONNECT, _SENDTO, _SENDMSG, _SENDMMSG, _IO_URING = 41, 42, 44, 46, 307, 425
_X32 = 0x40000000
_X86_64 = 0xC000003E
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _DATAGRAM = 1, 2

_ALLOW, _NOTIFY, _FAIL = 0x7FFF0000, 0x7FC00000, 0x00050000
_LOAD, _AND, _RETURN, _IF_EQUAL, _IF_AT_LEAST = 0x20, 0x54, 0x06, 0x15, 0x35
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24

_NETLINK_HEAD = struct.Struct("=IHHII")
_GET_LINKS, _GET_ADDRESSES = 18, 22
_NAME_SERVER = struct.pack("!H", 53)
_LONGEST_QUESTION = 512
_MOST_MESSAGES = 16
_MOST_ATTEMPTS = 1000
_LONGEST_COMMAND = 200
_WHO = ("npm_package_name", "npm_package_version", "npm_lifecycle_event", "npm_lifecycle_script")
_libc = ctypes.CDLL(None, use_errno=True)


class Attempt(NamedTuple):
    """Somebody tried to reach `target`: `name`, or `address:port`, or a kind of socket.

    `command` is theirs; the others come from the environment that npm gives to scripts.
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


def guarded_fork(become: Callable[[], None], tell: Callable[[Attempt], None]) -> int:
    """The process ID of a child that calls `become` under guard; `tell` runs in a thread of this
    process, once for each distinct attempt."""
    _require_kernel(os.uname().release)
    made: List[int] = []
    failed: List[OSError] = []
    forked = threading.Event()

    def fork_and_serve() -> None:
        # The filter is this thread's and its children's, while its listener is a file of the whole
        # process. The thread stays: to the kernel, a child's parent is a thread.
        try:
            listener = _install()
        except OSError as error:
            failed.append(error)
            forked.set()
            return
        made.append(_fork(become))
        forked.set()
        _Guard(listener, tell).serve()

    threading.Thread(target=fork_and_serve, daemon=True).start()
    forked.wait()
    if failed:
        raise GuardRefused(os.strerror(failed[0].errno or 0))
    return made[0]


def _require_kernel(release: str) -> None:
    """Older ones know the filter, but not how to let a call go on: it would wait for ever."""
    found = re.match(r"([0-9]+)\.([0-9]+)", release)
    if not found or tuple(map(int, found.groups())) < _OLDEST_KERNEL:
        raise GuardRefused(f"it takes Linux 5.5 or newer, and this is {release}")


def guarded_child(become: Callable[[], None], attempts: Optional[int]) -> int:
    """As guarded_fork, with lines of JSON written to the descriptor `attempts`.

    Without one there is no guard; where there can be none, a line says so, and the child runs.
    """
    if attempts is not None:
        descriptor = attempts
        try:
            return guarded_fork(become, lambda attempt: _write_line(descriptor, attempt._asdict()))
        except GuardRefused as refusal:
            _write_line(descriptor, {"refused": str(refusal)})
    return _fork(become)


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


# --- The filter.


def _install() -> int:
    program = b"".join(_filter())
    code = ctypes.create_string_buffer(program, len(program))
    asked = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = _libc.syscall(
        ctypes.c_long(_SYS_SECCOMP),
        _SET_MODE_FILTER,
        _NEW_LISTENER | _ALLOW_SPECULATION,
        ctypes.c_char_p(asked),
    )
    if listener < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(listener)


def _filter() -> Iterator[bytes]:
    """Classic BPF: each instruction is code, jump if true, jump if false, value."""

    def op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    yield op(_LOAD, _ARCHITECTURE)
    yield op(_IF_EQUAL, _X86_64, 1, 0)
    yield op(_RETURN, _FAIL | errno.ENOSYS)
    yield op(_LOAD, _NUMBER)
    yield op(_IF_AT_LEAST, _X32, 0, 1)
    yield op(_RETURN, _FAIL | errno.ENOSYS)
    for number in (_CONNECT, _SENDTO, _SENDMSG, _SENDMMSG, _IO_URING):
        yield op(_IF_EQUAL, number, 0, 1)
        yield op(_RETURN, _NOTIFY)
    yield op(_IF_EQUAL, _SOCKET, 1, 0)
    yield op(_RETURN, _ALLOW)
    yield op(_LOAD, _FIRST)
    for family in (_UNIX, _NETLINK):
        yield op(_IF_EQUAL, family, 0, 1)
        yield op(_RETURN, _ALLOW)
    yield op(_IF_EQUAL, _INET, 2, 0)
    yield op(_IF_EQUAL, _INET6, 1, 0)
    yield op(_RETURN, _FAIL | errno.EAFNOSUPPORT)
    yield op(_LOAD, _SECOND)
    yield op(_AND, 0xF)
    for kind in (_STREAM, _DATAGRAM):
        yield op(_IF_EQUAL, kind, 0, 1)
        yield op(_RETURN, _ALLOW)
    yield op(_RETURN, _NOTIFY)


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
    def __init__(self, listener: int, tell: Callable[[Attempt], None]) -> None:
        self._listener = listener
        self._tell = tell
        self._told: Set[Attempt] = set()
        self._interfaces = _Interfaces()

    def serve(self) -> None:
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
            denied, target = _judge(call, self._interfaces)
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
        attempt = Attempt(target, _command(call.pid), *_who(call.pid))
        if attempt not in self._told and len(self._told) < _MOST_ATTEMPTS:
            self._told.add(attempt)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._listener, _IS_VALID, struct.pack("=Q", call.id))
                self._tell(attempt)


def _judge(call: _Notification, interfaces: _Interfaces) -> Tuple[int, str]:
    """The error's number, 0 to let it go on, or _PRETEND; and what somebody tried to reach, if told."""
    if call.number == _SENDTO and interfaces.asks(call):
        return errno.EPERM, ""
    judges: Dict[int, Callable[[int, Sequence[int]], Tuple[int, str]]] = {
        _CONNECT: _judge_connect,
        _SENDTO: _judge_sendto,
        _SENDMSG: lambda pid, a: _judge_header(pid, a[1]),
        _SENDMMSG: _judge_sendmmsg,
        _SOCKET: lambda pid, a: (errno.EPERM, "a raw socket"),
        _IO_URING: lambda pid, a: (errno.EPERM, "io_uring"),
    }
    return judges[call.number](call.pid, call.arguments)


def _judge_connect(pid: int, a: Sequence[int]) -> Tuple[int, str]:
    address = _read(pid, a[1], min(a[2], 128))
    if address[2:4] == _NAME_SERVER and not _is_stream(pid, a[0]):
        # Nothing is sent by that, and the question that follows tells the name.
        return _PRETEND, ""
    return _judge_address(address)


def _judge_sendto(pid: int, a: Sequence[int]) -> Tuple[int, str]:
    address = _read(pid, a[4], min(a[5], 128)) if a[4] else b""
    return _judge_message(address, _read(pid, a[1], min(a[2], _LONGEST_QUESTION)))


def _judge_sendmmsg(pid: int, a: Sequence[int]) -> Tuple[int, str]:
    for number in range(min(a[2] & 0xFFFFFFFF, _MOST_MESSAGES)):
        denied, target = _judge_header(pid, a[1] + 64 * number)
        if denied:
            return denied, target
    return 0, ""


def _judge_header(pid: int, place: int) -> Tuple[int, str]:
    name, name_size, parts, count = struct.unpack("=QI4xQQ", _read(pid, place, 32))
    address = _read(pid, name, min(name_size, 128)) if name else b""
    message = b""
    if count:
        start, size = struct.unpack("=QQ", _read(pid, parts, 16))
        message = _read(pid, start, min(size, _LONGEST_QUESTION)) if size else b""
    return _judge_message(address, message)


def _judge_message(address: bytes, message: bytes) -> Tuple[int, str]:
    name = question(message)
    denied, target = _judge_address(address) if address else (0, "")
    if name is None:
        return denied, target
    # Names without a dot are those of this machine or of a misspelt option.
    return denied or errno.ECONNREFUSED, name if "." in name else ""


def _judge_address(address: bytes) -> Tuple[int, str]:
    family = struct.unpack_from("=H", address)[0] if len(address) >= 2 else 0
    if family == _INET and len(address) >= 8:
        host: ipaddress._BaseAddress = ipaddress.IPv4Address(address[4:8])
        shown = str(host)
    elif family == _INET6 and len(address) >= 24:
        six = ipaddress.IPv6Address(address[8:24])
        host, shown = six.ipv4_mapped or six, f"[{six}]"
    else:
        return 0, ""  # a Unix socket, an end of an association, or what the kernel refuses itself
    if host.is_loopback or host.is_unspecified:
        return 0, ""
    return errno.ENETUNREACH, f"{shown}:{struct.unpack_from('!H', address, 2)[0]}"


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


def _who(pid: int) -> Tuple[str, ...]:
    found: Dict[str, str] = {}
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        for line in file.read().decode(errors="replace").split("\0"):
            name, _, value = line.partition("=")
            found[name] = value
    return tuple(found.get(name, "") for name in _WHO)
