"""Tells how far a long step is: Pants shows a process' output only when it has ended.

The step's own log grows in its sandbox; `enter.py` leaves a link to it beside the settings, under a
name that follows from the step's key.  Where the link is missing (a cached result, a container's
own file system) nothing is told.
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
    """As long as the context lasts, logs where the step is, now and then."""

    def __init__(self, link: str, description: str) -> None:
        self._link = link
        self._description = description
        self._done = threading.Event()
        # Where Pants writes a log line to is a matter of each thread.
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
