"""Tries what only root may: other users, devices, mounts, modules, clocks, tracing of the kernel."""

import ctypes
import glob
import os
import subprocess
import time
from typing import Callable, Tuple

import kit

if kit.LIBC.prctl(39, 0, 0, 0, 0) != 1:
    kit.reached("may gain rights by set-user-ID programs")
try:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(("CapEff", "CapPrm", "CapAmb", "CapInh")) and int(
                line.split()[1], 16
            ):
                kit.reached(f"has {line.strip()}")
except OSError as error:
    kit.note("status", kit.word_of(error))
ACTS: Tuple[Tuple[str, Callable[[], object]], ...] = (
    ("became root", lambda: os.setuid(0)),
    ("became user 1", lambda: os.setuid(1)),
    ("dropped into other groups", lambda: os.setgroups([0])),
    ("made a block device", lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(8, 0))),
    ("raised its priority", lambda: os.nice(-5)),
    ("set the clock", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
    ("set the name of the machine", lambda: __import__("socket").sethostname("marked")),
)
for what, act in ACTS:
    try:
        act()
        kit.reached(what)
    except OSError as error:
        kit.note(what, kit.word_of(error))
ZERO = ctypes.create_string_buffer(256)
for what, number, arguments in (
    ("loaded a BPF program", 321, (0, ZERO, 48)),
    ("opened port 80 of the hardware", 173, (0x80, 1, 1)),
    ("set I/O privilege", 172, (3,)),
    ("loaded a module", 175, (ZERO, 0, ZERO)),
    ("mounted a file system", 165, (b"none", b"/tmp", b"tmpfs", 0, b"")),
    ("turned swap off", 168, (b"/",)),
    ("entered a namespace of process 1", 308, (-1, 0)),
):
    done, code = kit.call(number, *arguments)
    if done >= 0:
        kit.reached(what)
    else:
        kit.note(what, kit.name_of(code))
for path in glob.glob("/usr/bin/*") + glob.glob("/bin/*") + glob.glob("/usr/sbin/*"):
    try:
        if os.stat(path).st_mode & 0o4000:
            kit.note(f"set-user-ID {path}", True)
            said = subprocess.run([path, "--version"], capture_output=True, timeout=5, check=False)
            kit.note(path, said.returncode)
    except (OSError, subprocess.TimeoutExpired):
        pass
