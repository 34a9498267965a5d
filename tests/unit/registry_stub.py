"""A small npm registry on loopback with all faults that tests need.

    with Registry({"left": {"1.0.0": b"…"}}) as registry:
        registry.faults["/left/-/left-1.0.0.tgz"] = ["500"]   # the first request only
        … fetch from registry.url …
        assert registry.paths() == ["/left/-/left-1.0.0.tgz"] * 2

Faults are taken one per request; the last one of a list that ends in "…" goes on for ever.
"""

from __future__ import annotations

import http.server
import json
import select
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

TLS = Path(__file__).parents[1] / "fixtures" / "npm-tls"
CA_FILE = TLS / "ca.pem"

Packages = Mapping[str, Mapping[str, bytes]]


class Server:
    """Serves on a free port of loopback from its `with` on."""

    def __init__(self, handler: type, *, tls: bool = False) -> None:
        bound = type("Handler", (handler,), {"stub": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), bound)
        self._server.daemon_threads = True
        self.scheme = "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(str(TLS / "server.pem"))
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.scheme}://{self.host}/"
        self.requests: List[Tuple[str, Dict[str, str]]] = []

    def __enter__(self) -> Any:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def paths(self) -> List[str]:
        return [path for path, _ in self.requests]

    def headers(self, name: str) -> List[Optional[str]]:
        """This header's value in each request."""
        return [headers.get(name.lower()) for _, headers in self.requests]


class Registry(Server):
    """Packages at the usual paths, or where `elsewhere` puts them; faults by path."""

    def __init__(
        self,
        packages: Packages,
        *,
        tls: bool = False,
        token: Optional[str] = None,
        prefix: str = "/",
    ) -> None:
        super().__init__(_RegistryHandler, tls=tls)
        self.packages = packages
        self.token = token
        self.prefix = prefix
        self.url = self.url.rstrip("/") + prefix
        self.faults: Dict[str, List[str]] = {}
        self.elsewhere: Dict[Tuple[str, str], str] = {}  # (name, version) -> dist.tarball
        self.files: Dict[str, bytes] = {}  # further paths

    def fault(self, path: str) -> str:
        waiting = self.faults.get(path) or self.faults.get("*") or []
        if not waiting or waiting[0] == "…":
            return ""
        if len(waiting) > 1 and waiting[1] == "…":
            return waiting[0]
        return waiting.pop(0)

    def content(self, path: str) -> Optional[bytes]:
        if path in self.files:
            return self.files[path]
        if not path.startswith(self.prefix):
            return None
        inner = path[len(self.prefix) :]
        for name, versions in self.packages.items():
            if inner in (name, name.replace("/", "%2F")):
                return self._packument(name).encode()
            for version, tarball in versions.items():
                usual = f"{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
                if inner == usual and (name, version) not in self.elsewhere:
                    return tarball
        return None

    def _packument(self, name: str) -> str:
        bare = name.rpartition("/")[2]
        return json.dumps(
            {
                "name": name,
                "versions": {
                    version: {
                        "dist": {
                            "tarball": self.elsewhere.get(
                                (name, version), f"{self.url}{name}/-/{bare}-{version}.tgz"
                            )
                        }
                    }
                    for version in self.packages[name]
                },
            }
        )


class _QuietHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: Any

    def log_message(self, *_: object) -> None:
        pass

    def note(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.stub.requests.append((self.path, headers))

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _RegistryHandler(_QuietHandler):
    def do_GET(self) -> None:
        stub: Registry = self.stub
        self.note()
        fault = stub.fault(self.path)
        if stub.token and self.headers.get("Authorization") != f"Bearer {stub.token}":
            fault = fault or "401"
        body = stub.content(self.path)
        try:
            self._respond(fault, body)
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True

    def _respond(self, fault: str, body: Optional[bytes]) -> None:
        kind, _, value = fault.partition(":")
        if kind.isdigit():
            extra = {"Retry_After": value} if value else {}
            self.answer(int(kind), b"{}", **extra)
        elif kind == "redirect":
            self.answer(302, b"moved", Location=value)
        elif body is None:
            self.answer(404, b"{}")
        elif kind == "wrong":
            self.answer(200, bytes(len(body)))
        elif kind == "shorter":
            self.answer(200, body[:-1])
        elif kind == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for byte in (body[:1], body[1:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(byte), byte))
            self.wfile.write(b"0\r\n\r\n")
        elif kind:
            self._break_off(kind, body)
        else:
            self.answer(200, body)

    def _break_off(self, kind: str, body: bytes) -> None:
        self.close_connection = True
        if kind == "close":
            return
        self.send_response(200)
        if kind != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "truncated":
            self.wfile.write(body[: len(body) // 2])
        elif kind == "endless":
            while True:
                self.wfile.write(b"x" * 65536)
        elif kind == "stall":
            self.wfile.write(body[:1])
            self.wfile.flush()
            time.sleep(5)
        elif kind == "drip":
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.05)
        else:
            raise AssertionError(f"no fault is called {kind}")


class Proxy(Server):
    """A forward proxy that notes what it is asked for: `host:port`, or an address."""

    def __init__(self, *, login: Optional[str] = None) -> None:
        super().__init__(_ProxyHandler)
        self.login = login


class _ProxyHandler(_QuietHandler):
    def _is_welcome(self) -> bool:
        self.note()
        given = self.headers.get("Proxy-Authorization")
        if self.stub.login in (None, given):
            return True
        self.answer(407, b"")
        return False

    def do_CONNECT(self) -> None:
        if not self._is_welcome():
            return
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            pair = [self.connection, upstream]
            while True:
                ready, _, _ = select.select(pair, [], [], 10)
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    pair[1 - pair.index(one)].sendall(data)

    def do_GET(self) -> None:
        if not self._is_welcome():
            return
        host, _, path = self.path.partition("//")[2].partition("/")
        with socket.create_connection((host.partition(":")[0], int(host.partition(":")[2]))) as up:
            up.sendall(
                f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            while True:
                data = up.recv(65536)
                if not data:
                    break
                self.connection.sendall(data)
        self.close_connection = True


def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
