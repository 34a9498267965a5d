"""Steady HTTP requests to a service while a test disturbs it.

    with Load("http://10.199.0.2:3000/health", per_second=20) as load:
        deploy()
    assert load.lost == 0
    assert load.longest_gap() < 0.5

Requests go out at their times whether or not earlier ones have been answered, each on a connection
of its own, as those of many clients do.
"""

from __future__ import annotations

import http.client
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import List, Optional
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    at: float  # when it was sent, by time.monotonic()
    seconds: float  # until its answer or failure
    status: Optional[int]
    failure: str  # why it was lost; empty: it was served

    @property
    def served(self) -> bool:
        return not self.failure


class Load:
    """The counts are final when the block has ended; before, they are those so far."""

    def __init__(self, url: str, per_second: float = 20.0, timeout: float = 1.0) -> None:
        parts = urlsplit(url)
        assert parts.scheme == "http", url
        assert parts.hostname is not None, url
        self.host, self.port = parts.hostname, parts.port or 80
        self.target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        self.interval = 1.0 / per_second
        self.timeout = timeout
        self.started = self.ended = 0.0
        self._requests: List[Request] = []
        self._stop = threading.Event()
        self._clock = threading.Thread(target=self._send_all, name="load", daemon=True)
        # As many as can be waiting for an answer at one time.
        self._senders = ThreadPoolExecutor(math.ceil(per_second * timeout) + 2)

    def __enter__(self) -> Load:
        self.started = time.monotonic()
        self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Sends no more, and waits for the answers that are due."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._clock.join()
        self.ended = time.monotonic()
        self._senders.shutdown()

    @property
    def requests(self) -> List[Request]:
        """Every request that was served or lost, in the order of their sending."""
        return sorted(self._requests, key=lambda request: request.at)

    @property
    def served(self) -> int:
        return sum(request.served for request in self._requests)

    @property
    def lost(self) -> int:
        return len(self._requests) - self.served

    def longest_gap(self) -> float:
        """The longest time in seconds in which no request was sent that was served."""
        end = self.ended or time.monotonic()
        times = [self.started, *(one.at for one in self.requests if one.served), end]
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def _send_all(self) -> None:
        sent = 0
        while not self._stop.wait(self.started + sent * self.interval - time.monotonic()):
            self._senders.submit(self._send)
            sent += 1

    def _send(self) -> None:
        at, status, failure = time.monotonic(), None, ""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            connection.request("GET", self.target, headers={"Connection": "close"})
            answer = connection.getresponse()
            answer.read()
            status = answer.status
            failure = "" if 200 <= status < 300 else f"status {status}"
        except (OSError, http.client.HTTPException) as error:
            failure = repr(error)
        finally:
            connection.close()
        self._requests.append(Request(at, time.monotonic() - at, status, failure))
