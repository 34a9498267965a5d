"""A web server on the loopback interface with the behaviour that a test chooses."""

from __future__ import annotations

import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

Behaviour = Callable[[BaseHTTPRequestHandler], None]
Page = Union[bytes, int, Behaviour]
"""What is at a path: a content, a status, or a way to behave."""


class Server:
    """`requests` are the requested paths, with their headers."""

    def __init__(self, pages: Dict[str, Page]) -> None:
        self.pages = pages
        self.requests: List[Tuple[str, Dict[str, str]]] = []
        self.address = ""

    @property
    def paths(self) -> List[str]:
        return [path for path, _ in self.requests]


@contextmanager
def serve(pages: Dict[str, Page], certificate: Optional[str] = None) -> Iterator[Server]:
    """`certificate` is a PEM file with a certificate and its key; with it, the server uses TLS."""
    server = Server(pages)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.requests.append((self.path, dict(self.headers.items())))
            page = server.pages.get(self.path, 404)
            if callable(page):
                page(self)
            elif isinstance(page, int):
                self.send_error(page)
            else:
                send(self, page)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    scheme = "https" if certificate else "http"
    server.address = f"{scheme}://127.0.0.1:{httpd.server_address[1]}"
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, content: bytes, promised: int = -1) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content) if promised < 0 else promised))
    handler.end_headers()
    handler.wfile.write(content)


def cut_off(content: bytes) -> Behaviour:
    """Sends the full length, and closes after half of the body."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        send(handler, content[: len(content) // 2], promised=len(content))
        handler.close_connection = True

    return behave


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Sends an endless body without a length."""
    handler.close_connection = True
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        pass  # the client has closed the connection, as it should


def stalled(seconds: float) -> Behaviour:
    """Begins a response and then sends nothing."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.flush()
        time.sleep(seconds)

    return behave


def redirect(target: str) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return behave


def first_fails(content: bytes, status: int = 503) -> Behaviour:
    """Fails once, as a busy mirror does."""
    failed: List[int] = []

    def behave(handler: BaseHTTPRequestHandler) -> None:
        if failed:
            send(handler, content)
        else:
            failed.append(1)
            handler.send_error(status)

    return behave
