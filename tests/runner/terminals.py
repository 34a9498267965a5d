"""Runs a command with each output stream connected to a terminal, a pipe or a file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import tempfile
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Set

TERMINAL, PIPE, FILE = "terminal", "pipe", "file"
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TIME_LIMIT = 120.0  # seconds


@dataclass(frozen=True)
class Printed:
    """`text` is what came out of both streams, without control sequences."""

    status: int
    text: str
    has_dynamic_ui: bool


def run_printing_to(
    stdout: str, stderr: str, command: List[str], cwd: Path, environ: Mapping[str, str]
) -> Printed:
    """Runs a command to its end; both streams may go to one place."""
    with _places({stdout, stderr}) as places:
        process = subprocess.Popen(
            command,
            cwd=str(cwd),
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=places[stdout].writer,
            stderr=places[stderr].writer,
            start_new_session=True,
        )
        try:
            texts = _read_all(process, list(places.values()))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    said = b"".join(texts).decode("utf-8", "replace")
    # Only a UI that redraws its lines moves the cursor.
    return Printed(process.returncode, _CONTROLS.sub("", said), "\x1b[2K" in said)


@dataclass
class _Place:
    reader: int
    writer: int


@contextlib.contextmanager
def _places(kinds: Set[str]) -> Iterator[Dict[str, _Place]]:
    made: Dict[str, _Place] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            if kind == TERMINAL:
                made[kind] = _Place(*pty.openpty())
                # The dynamic UI draws as wide as the terminal is, and a new one has no size.
                size = struct.pack("HHHH", 40, 120, 0, 0)
                fcntl.ioctl(made[kind].writer, termios.TIOCSWINSZ, size)
            elif kind == PIPE:
                made[kind] = _Place(*os.pipe())
            else:
                path = os.path.join(folder, "output")
                writer = os.open(path, os.O_WRONLY | os.O_CREAT)
                made[kind] = _Place(os.open(path, os.O_RDONLY), writer)
        try:
            yield made
        finally:
            for place in made.values():
                os.close(place.reader)
                os.close(place.writer)


def _read_all(process: subprocess.Popen[bytes], places: List[_Place]) -> List[bytes]:
    """Reads until the command has ended and nothing is left: a full terminal would block it."""
    deadline = time.monotonic() + _TIME_LIMIT
    blocks: List[bytes] = []
    while True:
        ended = process.poll() is not None
        block = b"".join(_available(place.reader) for place in places)
        blocks.append(block)
        if ended and not block:
            return blocks
        assert time.monotonic() < deadline, b"".join(blocks)
        if not block:
            time.sleep(0.02)


def _available(reader: int) -> bytes:
    ready = select.select([reader], [], [], 0)[0]
    return os.read(reader, 1 << 16) if ready else b""
