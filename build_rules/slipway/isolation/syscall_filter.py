"""The seccomp filter for foreign commands: which calls it denies, and which the guard decides.

A build step must give the same bytes with every isolator. So all isolators use the same filter,
even if an isolator denies these calls by itself. The filter denies access to other processes of
the same user, to the kernel's keyrings, and to new namespaces. It passes calls that can reach the
network to the network guard, if the kernel supports that. Sources: seccomp(2), bpf(4), and the
default profile of Docker for calls that builds do not need.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Iterator, Optional

CONNECT, SENDTO, SENDMSG, SENDMMSG, SOCKET = 42, 44, 46, 307, 41
"""The system calls of x86-64 that the network guard decides; for SOCKET only raw sockets."""

_REFUSED = (
    # Reading, writing and controlling another process.
    *(101, 310, 311, 312),  # ptrace, process_vm_readv, process_vm_writev, kcmp
    *(438, 440),  # pidfd_getfd, process_madvise
    # Keyrings: the user's keyrings must not be visible in a step, and a step needs none.
    *(248, 249, 250),  # add_key, request_key, keyctl
    # Mounts and namespaces: in a new user namespace, a user would have all rights.
    *(155, 165, 166, 308),  # pivot_root, mount, umount2, setns
    *(428, 429, 430, 431, 432, 433, 442),  # open_tree, move_mount, fsopen … fspick, mount_setattr
    # Parts of the kernel that no build needs, and that had many vulnerabilities.
    *(298, 321, 323),  # perf_event_open, bpf, userfaultfd
)
_ABSENT = (
    # io_uring can send data without a system call that the guard sees. libuv 1.45 and newer tries
    # it at every start of Node.js; ENOSYS makes it fall back as on an older kernel.
    *(425, 426, 427),  # io_uring_setup, io_uring_enter, io_uring_register
    435,  # clone3: a filter cannot read its flags from memory; ENOSYS makes glibc use clone
)
_CLONE, _UNSHARE = 56, 272
_NEW_NAMESPACES = (
    # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME
    *(0x00020000, 0x02000000, 0x04000000, 0x08000000),
    *(0x10000000, 0x20000000, 0x40000000),
)
_NEW_TIME = 0x00000080  # CLONE_NEWTIME, for unshare only; clone() uses these bits for a signal

_X32 = 0x40000000
_X86_64 = 0xC000003E
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _DATAGRAM = 1, 2

_ALLOW, _NOTIFY, _FAIL = 0x7FFF0000, 0x7FC00000, 0x00050000
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT = 0x15, 0x35, 0x45
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24

_SYS_SECCOMP = 317
_SET_MODE_FILTER, _NEW_LISTENER = 1, 1 << 3
# Before Linux 5.16, seccomp enables mitigations against speculative execution for the process,
# which slow down the whole step. They do not matter here, and this flag turns them off.
_ALLOW_SPECULATION = 1 << 2
_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)


def install(*, notify: bool) -> Optional[int]:
    """Installs the filter permanently for this thread and its children.

    With `notify`, returns the descriptor for the network guard. Raises OSError if the kernel, or a
    filter that is already installed, does not allow that.
    """
    program = b"".join(_instructions(notify=notify))
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_SYS_SECCOMP),
        _SET_MODE_FILTER,
        (_NEW_LISTENER if notify else 0) | _ALLOW_SPECULATION,
        ctypes.c_char_p(described),
    )
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result) if notify else None


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """An instruction of classic BPF; `yes` and `no` are numbers of instructions to skip."""
    return struct.pack("=HBBI", code, yes, no, value)


def _instructions(*, notify: bool) -> Iterator[bytes]:
    yield _op(_LOAD, _ARCHITECTURE)
    yield _op(_IF_EQUAL, _X86_64, 1, 0)
    yield _op(_RETURN, _FAIL | errno.ENOSYS)
    yield _op(_LOAD, _NUMBER)
    yield _op(_IF_AT_LEAST, _X32, 0, 1)
    yield _op(_RETURN, _FAIL | errno.ENOSYS)
    for numbers, error in ((_REFUSED, errno.EPERM), (_ABSENT, errno.ENOSYS)):
        for number in numbers:
            yield _op(_IF_EQUAL, number, 0, 1)
            yield _op(_RETURN, _FAIL | error)
    spaces = sum(_NEW_NAMESPACES)
    for number, flags in ((_CLONE, spaces), (_UNSHARE, spaces | _NEW_TIME)):
        yield _op(_IF_EQUAL, number, 0, 4)
        yield _op(_LOAD, _FIRST)
        yield _op(_IF_ANY_BIT, flags, 0, 1)
        yield _op(_RETURN, _FAIL | errno.EPERM)
        yield _op(_RETURN, _ALLOW)
    if notify:
        yield from _instructions_of_network()
    yield _op(_RETURN, _ALLOW)


def _instructions_of_network() -> Iterator[bytes]:
    for number in (CONNECT, SENDTO, SENDMSG, SENDMMSG):
        yield _op(_IF_EQUAL, number, 0, 1)
        yield _op(_RETURN, _NOTIFY)
    yield _op(_IF_EQUAL, SOCKET, 1, 0)
    yield _op(_RETURN, _ALLOW)
    yield _op(_LOAD, _FIRST)
    for family in (_UNIX, _NETLINK):
        yield _op(_IF_EQUAL, family, 0, 1)
        yield _op(_RETURN, _ALLOW)
    yield _op(_IF_EQUAL, _INET, 2, 0)
    yield _op(_IF_EQUAL, _INET6, 1, 0)
    yield _op(_RETURN, _FAIL | errno.EAFNOSUPPORT)
    yield _op(_LOAD, _SECOND)
    yield _op(_AND, 0xF)
    for kind in (_STREAM, _DATAGRAM):
        yield _op(_IF_EQUAL, kind, 0, 1)
        yield _op(_RETURN, _ALLOW)
    yield _op(_RETURN, _NOTIFY)
