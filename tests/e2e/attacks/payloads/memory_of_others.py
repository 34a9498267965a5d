"""Reads and writes the memory of other processes, by system calls and by /proc/PID/mem."""

import ctypes
import errno
import os
import struct

import kit

READ, WRITE = 310, 311
buffer = ctypes.create_string_buffer(8)
here = struct.pack("=QQ", ctypes.addressof(buffer), 8)


def writable_place(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/maps") as file:
            for line in file:
                if line.split()[1].startswith("rw"):
                    return int(line.split("-")[0], 16)
    except OSError:
        pass
    return 0x400000


for pid in kit.others():
    there = struct.pack("=QQ", writable_place(pid), 8)
    # What is written is what was read: the process does not notice.
    for word, number in (("read", READ), ("wrote", WRITE)):
        done, error = kit.call(number, pid, here, 1, there, 1, 0)
        if done >= 0 or error == errno.EFAULT:
            kit.reached(f"{word} memory of process {pid}: {kit.command_of(pid)[:60]}")
    for mode in ("rb", "r+b"):
        try:
            with open(f"/proc/{pid}/mem", mode):
                kit.reached(f"opened the memory of process {pid} as {mode}")
        except OSError as error:
            kit.note(f"mem {pid} {mode}", kit.word_of(error))
os.sync()
