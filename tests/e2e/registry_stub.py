"""An npm registry on loopback that writes down what it is asked for, and passes it on, or refuses.

with RegistryStub(upstream=npm_registry()) as stub:
    clone.write_npmrc(registry=stub.url)
    …
    assert stub.tarballs == ["/dayjs/-/dayjs-1.11.10.tgz"]
"""

from __future__ import annotations

import http.server
import threading
import urllib.error
import urllib.request
from typing import List, Optional


class RegistryStub:
    def __init__(self, upstream: Optional[str] = None) -> None:
        self.requests: List[str] = []
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                stub.requests.append(self.path)
                status, body = _forwarded(upstream, self.path) if upstream else (503, b"")
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    @property
    def tarballs(self) -> List[str]:
        return sorted(path for path in self.requests if path.endswith(".tgz"))

    def __enter__(self) -> RegistryStub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _forwarded(upstream: str, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(upstream.rstrip("/") + path, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""
