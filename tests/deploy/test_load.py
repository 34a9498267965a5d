"""The load generator counts what a service that comes and goes has served and lost."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Iterator

from tests.deploy.load import Load


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health?deep" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def service(port: int = 0) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", port), Health) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_steady_service_loses_nothing() -> None:
    with service() as port, Load(f"http://127.0.0.1:{port}/health?deep", per_second=40) as load:
        time.sleep(1)
    assert load.lost == 0
    assert 30 <= load.served <= 42
    assert load.longest_gap() < 0.3


def test_restart_shows_as_losses_and_a_gap() -> None:
    with service() as port:
        load = Load(f"http://127.0.0.1:{port}/health?deep", per_second=40)
        load.__enter__()
        time.sleep(0.3)
    time.sleep(0.5)
    with service(port):
        time.sleep(0.3)
        load.close()
    lost = [request for request in load.requests if not request.served]
    assert load.lost == len(lost) > 10
    assert any("ConnectionRefused" in request.failure for request in lost)
    assert 0.4 < load.longest_gap() < 1.5
    assert load.served > 10


def test_wrong_status_is_a_loss() -> None:
    with service() as port, Load(f"http://127.0.0.1:{port}/health", per_second=40) as load:
        time.sleep(0.2)
    assert load.served == 0
    assert {request.failure for request in load.requests} == {"status 503"}
    assert load.longest_gap() == load.ended - load.started


def test_requests_go_out_on_time_while_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with Load(url, per_second=40, timeout=0.5) as load:
            time.sleep(1)
    assert 30 <= load.lost <= 42
    assert load.served == 0
