"""An HTTP server on loopback with the files for one install script: pinned binaries, headers."""

from __future__ import annotations

import http.server
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Dict, List, Mapping, Optional, Tuple, Type
from urllib.parse import unquote

from slipway.isolation import jailed
from slipway.npm.scripts import mirrors
from slipway.npm.scripts.mirrors import Asked
from slipway.runtime.headers import FOLDER, NodeHeaders
from slipway.step.interface import ReportFile


@dataclass(frozen=True)
class AskedFiles:
    files: Tuple[Asked, ...]


ASKED = ReportFile("asked.json", AskedFiles)


class LoopbackServer:
    """`variables` are the variables that name the script's mirror; `binaries` maps paths to files.

    A request for an unknown binary ends the script, because some scripts would save the error page as
    their binary.
    """

    def __init__(
        self, variables: Tuple[str, ...], binaries: Mapping[str, str], headers: NodeHeaders
    ) -> None:
        self._variables = variables
        self._binaries = binaries
        self._headers = headers
        self._asked: List[Asked] = []
        self._stop: Optional[jailed.Stop] = None
        handler = type("Handler", (_Handler,), {"server_side": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    @property
    def environment(self) -> Dict[str, str]:
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            **self._headers.environment(address),
            **mirrors.addresses(self._variables, address),
        }

    def __enter__(self) -> LoopbackServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._server.shutdown()
        ASKED.write(AskedFiles(tuple(sorted(set(self._asked), key=str))))

    def stop_at_fault(self, stop: jailed.Stop) -> None:
        self._stop = stop

    def find(self, request: str) -> Optional[bytes]:
        """The file for the path of a request; ends the script if there is no such binary."""
        path = unquote(request)
        if path.startswith(f"/{FOLDER}/"):
            return self._headers.find(path[len(FOLDER) + 2 :].lstrip("/"))
        if not self._variables:
            return None
        variable, path = mirrors.split_request(path, self._variables)
        file_path = self._binaries.get(path)
        self._asked.append(Asked(variable, path, file_path is not None))
        if file_path is not None:
            with open(file_path, "rb") as file:
                return file.read()
        if self._stop is not None:
            self._stop()
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    server_side: LoopbackServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        content = self.server_side.find(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        if with_body and content:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Prints nothing; the step reports the requests."""
