"""Creates a network namespace for a step, if root may create it without other namespaces.

It has only a loopback interface. So the step cannot reach services on the machine's loopback
interface, or abstract Unix sockets of the machine.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

_CLONE_NEWNET, _CLONE_NEWIPC = 0x40000000, 0x08000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)


def is_offered() -> bool:
    """Whether enter() works, which a child process tries."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            enter()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def enter() -> None:
    """Moves this process into a new network namespace and a new IPC namespace."""
    if _libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")
    bring_up_loopback()


def bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
