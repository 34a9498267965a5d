"""Serves pinned binaries on loopback to the install script of one package."""

from __future__ import annotations

import http.server
import json
import threading
from dataclasses import asdict
from types import TracebackType
from typing import Dict, List, Mapping, Optional, Tuple, Type
from urllib.parse import unquote

from build_rules.lib import binary_mirrors, process_output
from build_rules.lib.binary_mirrors import Asked

ASKED = "out/asked.json"


class BinaryServer:
    """`variables` are those that steer the script; `binaries` maps paths to files.

    What is not there ends the script: a page that says so would be kept as a binary by some.
    """

    def __init__(self, variables: Tuple[str, ...], binaries: Mapping[str, str]) -> None:
        self._variables = variables
        self._binaries = binaries
        self._asked: List[Asked] = []
        self._stop: Optional[process_output.Stop] = None
        handler = type("Handler", (_Handler,), {"binaries": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    @property
    def environment(self) -> Dict[str, str]:
        return binary_mirrors.addresses(self._variables, self._server.server_address[1])

    def __enter__(self) -> BinaryServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._server.shutdown()
        with open(ASKED, "w", encoding="utf-8") as file:
            json.dump([asdict(one) for one in sorted(set(self._asked), key=str)], file)

    def stop_at_fault(self, stop: process_output.Stop) -> None:
        self._stop = stop

    def find(self, request: str) -> Optional[str]:
        """The file for the path of a request; without one, the script is ended."""
        variable, path = binary_mirrors.split_request(unquote(request), self._variables)
        found = self._binaries.get(path)
        self._asked.append(Asked(variable, path, found is not None))
        if found is None and self._stop is not None:
            self._stop()
        return found


class _Handler(http.server.BaseHTTPRequestHandler):
    binaries: BinaryServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        file = self.binaries.find(self.path)
        content = b""
        if file is not None:
            with open(file, "rb") as opened:
                content = opened.read()
        self.send_response(404 if file is None else 200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """What was asked for is told by the step."""
