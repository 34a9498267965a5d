"""The network guard: it reports attempts, allows loopback, and blocks everything else."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ContextManager, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.isolation import network_guard, network_words
from slipway.isolation.jail_protocol import NOBODY, Subject
from slipway.isolation.network_guard import (
    OWN_LOOPBACK,
    Attempt,
    GuardRefused,
    Report,
    Surroundings,
    question,
)
from tests.places import SOURCES

PRELUDE = """
import ctypes, os, socket, subprocess, sys
INET, INET6, STREAM, DATAGRAM = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
"""


def guarded(
    script: str,
    env: Optional[Dict[str, str]] = None,
    python: bool = True,
    subject: Subject = NOBODY,
    surroundings: Surroundings = OWN_LOOPBACK,
) -> Tuple[int, str, Report]:
    """The exit status, what was printed, and what the guard saw."""
    argv = [sys.executable, "-S", "-c", PRELUDE + script] if python else ["sh", "-c", script]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as attempts:

        def become() -> None:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            os.execvpe(argv[0], argv, {"PATH": os.environ["PATH"], **(env or {})})

        child = network_guard.guarded_child(become, attempts.fileno(), subject, surroundings)
        status = os.waitpid(child, 0)[1]
        said.seek(0)
        attempts.seek(0)
        report = network_guard.read_report(attempts.read())
        if report.refused:
            pytest.skip(f"this kernel offers no guard: {report.refused}")
        return status >> 8, said.read().decode(), report


ATTEMPTS = {
    "TCP": ("socket.socket(INET).connect(('198.51.100.7', 443))", "198.51.100.7:443"),
    "TCP without waiting": (
        "s = socket.socket(INET); s.setblocking(False); s.connect(('198.51.100.7', 80))",
        "198.51.100.7:80",
    ),
    "IPv6": ("socket.socket(INET6).connect(('2001:db8::7', 443))", "[2001:db8::7]:443"),
    "IPv4 in IPv6": (
        "socket.socket(INET6).connect(('::ffff:198.51.100.7', 443))",
        "[::ffff:c633:6407]:443",
    ),
    "UDP": ("socket.socket(INET, DATAGRAM).sendto(b'x', ('198.51.100.7', 9))", "198.51.100.7:9"),
    "a message": (
        "socket.socket(INET, DATAGRAM).sendmsg([b'x'], [], 0, ('198.51.100.7', 9))",
        "198.51.100.7:9",
    ),
    "fast open": (
        "socket.socket(INET).sendto(b'x', 0x20000000, ('198.51.100.7', 80))",
        "198.51.100.7:80",
    ),
    "a name": ("socket.getaddrinfo('downloads.example', 443)", "downloads.example"),
    "a name in a question of one's own": (
        (
            "q = b'\\1\\2\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\3dns\\7example\\0\\0\\1\\0\\1'\n"
            "s = socket.socket(INET, DATAGRAM); s.sendto(q, ('198.51.100.53', 53))"
        ),
        "dns.example",
    ),
    "a raw socket": ("socket.socket(INET, socket.SOCK_RAW, 1)", "a raw socket"),
    "a child": (
        (
            "subprocess.check_call([sys.executable, '-c',"
            " \"import socket; socket.socket().connect(('198.51.100.7', 22))\"])"
        ),
        "198.51.100.7:22",
    ),
    "a daemon": (
        (
            "p = os.fork()\n"
            "if p == 0:\n"
            "  os.setsid()\n"
            "  socket.socket(INET).connect(('198.51.100.7', 25))\n"
            "os.waitpid(p, 0); raise OSError"
        ),
        "198.51.100.7:25",
    ),
}


@pytest.mark.parametrize("kind", ATTEMPTS)
def test_a_way_out_is_refused_and_told(kind: str) -> None:
    script, target = ATTEMPTS[kind]
    status, said, report = guarded(script)
    assert status == 1, said
    assert [attempt.target for attempt in report.attempts] == [target]


def test_a_name_is_looked_up_where_there_is_no_address_but_loopback_s() -> None:
    # AI_ADDRCONFIG, as Node has it: without an address to answer from, nobody would be asked.
    program = """
import ctypes, os, socket, sys
if ctypes.CDLL(None).unshare(0x50000000):
    sys.exit(77)
from slipway.isolation import network_guard
def become():
    try:
        socket.getaddrinfo("downloads.example", 443, 0, 0, 0, 0x20)
    except OSError:
        os._exit(0)
attempts = os.memfd_create("attempts")
assert os.waitpid(network_guard.guarded_child(become, attempts), 0)[1] == 0
os.lseek(attempts, 0, 0)
print(*(one.target for one in network_guard.read_report(os.read(attempts, 9999)).attempts))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("no user namespaces here")
    assert done.stdout == "downloads.example\n"


def test_interfaces_are_listed() -> None:
    listing = "assert [name for _, name in socket.if_nameindex()]; import ctypes.util\n"
    addresses = "p = ctypes.c_void_p(); assert ctypes.CDLL(None).getifaddrs(ctypes.byref(p)) == 0"
    assert guarded(listing + addresses) == (0, "", Report())


def test_a_way_out_that_is_tried_again_and_again_is_told_once() -> None:
    script = "for _ in range(50):\n  s = socket.socket(); s.connect_ex(('198.51.100.7', 1))"
    assert len(guarded(script)[2].attempts) == 1


def test_another_family_of_sockets_is_not_offered() -> None:
    status, said, report = guarded("socket.socket(40, STREAM)")  # AF_VSOCK
    assert status == 1
    assert "not supported" in said
    assert report == Report()


@pytest.mark.parametrize("family", ["INET", "INET6"])
def test_loopback_goes_on(family: str) -> None:
    host = "127.0.0.1" if family == "INET" else "::1"
    script = f"""
server = socket.socket({family}); server.bind(('{host}', 0)); server.listen(1)
client = socket.socket({family}); client.connect(server.getsockname())
peer = server.accept()[0]; client.send(b'sent'); client.sendmsg([b' and more']); client.close()
got = b''.join(iter(lambda: peer.recv(99), b'')); assert got == b'sent and more', got
one, other = socket.socket({family}, DATAGRAM), socket.socket({family}, DATAGRAM)
one.bind(('{host}', 0)); other.sendto(b'datagram', one.getsockname()); assert one.recv(99) == b'datagram'
"""
    assert guarded(script) == (0, "", Report())


def test_unix_sockets_go_on(tmp_path: Path) -> None:
    script = f"""
server = socket.socket(socket.AF_UNIX); server.bind('{tmp_path}/s'); server.listen(1)
client = socket.socket(socket.AF_UNIX); client.connect('{tmp_path}/s'); client.sendall(b'x' * 99)
assert server.accept()[0].recv(999) == b'x' * 99
one, other = socket.socketpair(); one.send(b'y'); assert other.recv(9) == b'y'
"""
    assert guarded(script) == (0, "", Report())


SQLITE3 = Subject(
    "sqlite3", "5.1.6", {"install": "node-pre-gyp install --fallback-to-build", "postinstall": "x"}
)


def test_the_package_and_its_script_are_told() -> None:
    look = "socket.getaddrinfo('downloads.example', 443)"
    _, _, report = guarded(look, {"npm_lifecycle_event": "install"}, subject=SQLITE3)
    assert network_words.listed(report) == [
        (
            'sqlite3@5.1.6 (install script "node-pre-gyp install --fallback-to-build") '
            "tried to reach downloads.example"
        )
    ]


def test_a_script_cannot_put_the_blame_on_another_package() -> None:
    env = {
        "npm_package_name": "react",
        "npm_package_version": "19.0.0",
        "npm_lifecycle_event": "prepare\x1b[2K",
        "npm_lifecycle_script": "\x1b]0;owned\x07",
    }
    look = "socket.getaddrinfo('downloads.example', 443)"
    _, _, report = guarded(look, env, subject=SQLITE3)
    (line,) = network_words.listed(report)
    assert line.startswith("sqlite3@5.1.6 (")
    assert "react" not in line
    assert line.isprintable()


def test_io_uring_is_a_kernel_without_it_and_nothing_leaves() -> None:
    """As libuv asks for it at each start of Node; a ring could connect without the guard's seeing."""
    script = """
import errno
libc = ctypes.CDLL(None, use_errno=True)
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(1); server.setblocking(False)
for number in (425, 426, 427):
    assert libc.syscall(number, 8, ctypes.create_string_buffer(120), 0, 0, 0, 0) == -1
    assert ctypes.get_errno() == errno.ENOSYS, number
try:
    server.accept(); sys.exit(1)
except BlockingIOError:
    pass
"""
    assert guarded(script) == (0, "", Report())


def test_a_loopback_interface_of_the_machine_is_shut_but_for_the_step_s_own_sockets() -> None:
    others = Surroundings(neighbours=frozenset((61000,)))
    ours = Surroundings(neighbours=frozenset((os.geteuid(),)))
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as abstract:
        server.bind(("127.0.0.1", 0))
        server.listen(5)
        abstract.bind(f"\0slipway-test-{os.getpid()}")
        abstract.listen(5)
        connect = f"socket.socket().connect({server.getsockname()!r})"
        join = f"socket.socket(socket.AF_UNIX).connect({abstract.getsockname()!r})"
        for script in (connect, join):
            status, said, _ = guarded(script, surroundings=others)
            assert (status, "refused" in said) == (1, True), said
        assert guarded(connect, surroundings=ours)[0] == 0
        assert guarded(join)[0] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root opens sockets of other users")
def test_a_port_that_another_user_also_has_is_shut() -> None:
    ours = Surroundings(neighbours=frozenset((os.geteuid(),)))
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.listen(5)
        connect = f"socket.socket().connect({own.getsockname()!r})"
        assert guarded(connect, surroundings=ours)[0] == 0
        os.seteuid(61000)
        try:
            other = socket.socket()
        finally:
            os.seteuid(0)
        with other:
            other.bind(("127.0.0.2", own.getsockname()[1]))
            other.listen(5)
            status, said, _ = guarded(connect, surroundings=ours)
        assert (status, "refused" in said) == (1, True), said


def test_exit_status_and_signals_pass_through() -> None:
    assert guarded("exit 7", python=False)[0] == 7
    script = "trap 'exit 9' TERM; kill $$; sleep 9"
    assert guarded(script, python=False)[0] == 9


def test_where_a_guard_is_already_the_command_runs_and_it_is_said() -> None:
    program = """
import os, sys
from slipway.isolation import network_guard as guard
inner = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
child = guard.guarded_child(lambda: os.execvp("true", ["true"]), inner)
assert os.waitpid(child, 0)[1] == 0
os.lseek(inner, 0, 0)
print(guard.read_report(os.read(inner, 999)).refused)
"""
    with tempfile.NamedTemporaryFile() as inner:
        script = f"subprocess.check_call([sys.executable, '-c', {program!r}, {inner.name!r}])"
        status, said, _ = guarded(script, {"PYTHONPATH": str(SOURCES)})
    assert status == 0, said
    assert "busy" in said


@pytest.mark.parametrize(
    ("release", "fits"),
    [
        ("4.18.0-553.el8", False),
        ("5.4.0", False),
        ("odd", False),
        ("5.5.0-rc1", True),
        ("5.10.0", True),
        ("6.1.0-18-amd64", True),
    ],
)
def test_a_kernel_that_could_not_let_a_call_go_on_is_refused(release: str, fits: bool) -> None:
    outcome: ContextManager[object] = contextlib.nullcontext()
    if not fits:
        outcome = pytest.raises(GuardRefused, match=re.escape(release))
    with outcome:
        network_guard._require_kernel(release)


def test_a_command_that_ends_at_once_is_no_fault() -> None:
    for _ in range(20):
        assert guarded("exit 0", python=False) == (0, "", Report())


def test_a_killed_command_leaves_no_guard_behind() -> None:
    script = "kill -9 $$"
    with tempfile.TemporaryFile() as attempts:
        child = network_guard.guarded_child(
            lambda: os.execvp("sh", ["sh", "-c", script]), attempts.fileno()
        )
        assert os.waitpid(child, 0)[1] == 9


@given(
    st.lists(st.text("abcxyz0189-", min_size=1, max_size=63), min_size=1, max_size=4),
    st.integers(0, 0xFFFF),
    st.booleans(),
)
def test_a_question_is_read(labels: List[str], number: int, with_options: bool) -> None:
    name = b"".join(bytes([len(one)]) + one.encode() for one in labels) + b"\0"
    head = struct.pack("!6H", number, 0x0100, 1, 0, 0, int(with_options))
    options = b"\0\0\x29\x04\xd0\0\0\0\0\0\0" if with_options else b""
    assert question(head + name + b"\0\1\0\1" + options) == ".".join(labels)


@given(st.binary(max_size=600))
def test_any_other_message_is_no_question_or_a_printable_name(message: bytes) -> None:
    name = question(message)
    assert name is None or name.isprintable()


def test_a_report_comes_back_as_it_was_written() -> None:
    report = Report((Attempt("a.example", "node x"), Attempt("b.example", "curl", "p", "1.0.0")))
    assert network_guard.read_json(network_guard.as_json(report)) == report


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def test_plain_users_are_guarded_too() -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests show it")
    program = (
        "import os, socket, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from slipway.isolation import network_guard as guard\n"
        "def become():\n"
        "  socket.socket().connect_ex(('198.51.100.7', 443))\n"
        "  os._exit(0)\n"
        "out = os.memfd_create('out')\n"
        "os.waitpid(guard.guarded_child(become, out), 0)\n"
        "os.lseek(out, 0, 0); print(guard.read_report(os.read(out, 9999)))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        # A folder that every user may read, unlike the one of the tests.
        Path(folder).chmod(0o755)
        shutil.copytree(SOURCES / "slipway", Path(folder, "slipway"))
        said = subprocess.run(
            ["/usr/bin/python3", "-B", "-c", program, folder],
            preexec_fn=become_nobody,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert "198.51.100.7:443" in said
