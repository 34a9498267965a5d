"""Progress of a deploy: a table that is redrawn on a terminal, else one line per event."""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from typing import IO, List, Optional, Sequence, TextIO

from slipway.core import text_table
from slipway.deploy.host import Host

_EVERY = 0.3  # seconds
_UP_AND_CLEAR = "\x1b[{}A\x1b[J"


def write(stream: IO[str], text: str) -> Optional[OSError]:
    """Writes the text; returns the error if it fails, such as a closed pipe.

    After an error the stream goes to /dev/null: a deploy continues if nobody reads its output.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # Python flushes the rest of the buffer at exit, which would fail again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return error
    return None


class Progress:
    """`tell` prints a progress line; `hosts` are the hosts that the table shows."""

    def __init__(self, stream: TextIO) -> None:
        self.hosts: Sequence[Host] = ()
        self._stream = stream
        self._is_live = stream.isatty()
        self._drawn = 0
        self._drawing = (
            threading.RLock()
        )  # reentrant: a signal handler prints in the thread that may hold it
        self._closed = threading.Event()
        self._clock = threading.Thread(target=self._draw_again, daemon=True)
        if self._is_live:
            self._clock.start()

    def tell(self, text: str, host: str) -> None:
        """Prints a line, unless the table shows the host already."""
        if self._is_live and any(known.name == host for known in self.hosts):
            return
        with self._drawing:
            self._clear()
            write(self._stream, f"{host}: {text}\n" if host else f"{text}\n")

    def close(self) -> None:
        """Clears the progress table; the table of the outcome follows."""
        self._closed.set()
        if self._is_live:
            self._clock.join()
            self._clear()

    def _draw_again(self) -> None:
        while not self._closed.wait(_EVERY):
            with self._drawing:
                self._clear()
                size = shutil.get_terminal_size()
                lines = overview(self.hosts, size.columns, size.lines)
                write(self._stream, "".join(f"{line}\n" for line in lines))
                self._drawn = len(lines)

    def _clear(self) -> None:
        if self._drawn:
            write(self._stream, _UP_AND_CLEAR.format(self._drawn))
            self._drawn = 0


def overview(hosts: Sequence[Host], columns: int, lines: int) -> List[str]:
    """One line per host; if the terminal is too small, the number of hosts in each step."""
    if not hosts:
        return []
    rows = [[host.name, host.step, host.status, host.text] for host in hosts]
    if len(rows) > lines - 2:
        counted = Counter((host.step, host.status) for host in hosts)
        rows = [[str(number), *what, ""] for what, number in sorted(counted.items())]
    return [line[: columns - 1] for line in text_table.render(rows).splitlines()]
