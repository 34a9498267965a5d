"""What happens on the hosts meanwhile: a table in place on a terminal, else a line for each event."""

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
    """Why the text cannot be written, such as a closed pipe; later text then goes nowhere.

    A deploy goes on where nobody reads what it prints.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # What is in the buffer would fail again when the program ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return error
    return None


class Progress:
    """`tell` takes what is worth a line; `hosts` are those to be shown, when they are known."""

    def __init__(self, stream: TextIO) -> None:
        self.hosts: Sequence[Host] = ()
        self._stream = stream
        self._is_live = stream.isatty()
        self._drawn = 0
        self._drawing = threading.RLock()  # a signal may come while it is held
        self._closed = threading.Event()
        self._clock = threading.Thread(target=self._draw_again, daemon=True)
        if self._is_live:
            self._clock.start()

    def tell(self, text: str, host: str) -> None:
        """The table tells of its hosts where there is one."""
        if self._is_live and any(one.name == host for one in self.hosts):
            return
        with self._drawing:
            self._clear()
            write(self._stream, f"{host}: {text}\n" if host else f"{text}\n")

    def close(self) -> None:
        """Leaves nothing of the table: that of the outcome follows."""
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
    """A line for each host, or where the terminal is too small, for each step how many are there."""
    if not hosts:
        return []
    rows = [[one.name, one.step, one.status, one.text] for one in hosts]
    if len(rows) > lines - 2:
        counted = Counter((one.step, one.status) for one in hosts)
        rows = [[str(number), *what, ""] for what, number in sorted(counted.items())]
    return [line[: columns - 1] for line in text_table.render(rows).splitlines()]
