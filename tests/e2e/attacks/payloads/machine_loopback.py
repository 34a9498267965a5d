"""Connects to a port of the machine's loopback, and to its Unix sockets by name and by path."""

import array
import os
import socket

import kit

for host in ("127.0.0.1", "::1"):
    try:
        with socket.create_connection((host, kit.CONFIG["port"]), 2) as connection:
            connection.sendall(f"{kit.TOKEN}\n".encode())
            kit.reached(f"connected to the machine's {host}:{kit.CONFIG['port']}")
    except OSError as error:
        kit.note(host, kit.word_of(error))
for name in (f"\0{kit.CONFIG['abstract']}", kit.CONFIG["socket"]):
    shown = name.replace("\0", "@")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(name)
            kit.reached(f"connected to the machine's socket {shown}")
            numbers = array.array("i", [0])
            _data, extra, _flags, _sender = connection.recvmsg(
                64, socket.CMSG_LEN(numbers.itemsize)
            )
            for _level, _kind, data in extra:
                numbers.frombytes(data[:4])
                kit.reached(f"was given an open file: {os.read(numbers[-1], 40)!r}")
    except OSError as error:
        kit.note(shown, kit.word_of(error))
