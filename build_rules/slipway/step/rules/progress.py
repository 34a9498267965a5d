"""Logs the progress of long steps, because Pants shows a process's output only after it exits.

The step writes its log in its sandbox. `enter.py` creates a symlink to it beside the settings, with
a name from the hash of `step.json`. Without the symlink (a cached result, or a log inside a
container), there are no progress lines.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from types import TracebackType
from typing import Optional, Type

from pants.engine.internals import native_engine

from slipway.step import log

logger = logging.getLogger(__name__)
_EVERY = 30.0  # seconds


class Progress:
    """Logs the progress of a step every 30 seconds while the context is active."""

    def __init__(self, link: str, description: str) -> None:
        self._link = link
        self._description = description
        self._done = threading.Event()
        # In Pants, the destination of log lines is a thread-local value, which a new thread lacks.
        self._destination = native_engine.stdio_thread_get_destination()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._done.set()

    def _watch(self) -> None:
        native_engine.stdio_thread_set_destination(self._destination)
        started = time.monotonic()
        while not self._done.wait(_EVERY):
            if os.path.exists(self._link):
                minutes = (time.monotonic() - started) / 60
                where = log.where(self._link)
                logger.info(f"{self._description}: {where}, {minutes:.1f} minutes")
