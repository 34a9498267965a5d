"""The part of a step that runs in a container: takes a tar, runs the command, gives a tar back.

This file is the program of the container's first process, by itself and on the image's own Python.
Its input stays open as long as somebody waits for the result: when it ends, so does the container,
wherever the engine runs.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
from typing import Any, Dict

_BUILD = "/build"
RECORD = tarfile.RECORDSIZE
"""The input is read by whole records, and nothing beyond the last of the archive."""


def _end_with_input() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(137)


def _start() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Python ignores it, and an ignored signal stays ignored in what is started.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def main() -> None:
    asked: Dict[str, Any] = json.loads(sys.argv[1])
    os.umask(0o022)
    os.makedirs(os.path.join(_BUILD, "out"))
    with tarfile.open(
        fileobj=os.fdopen(0, "rb", 0, closefd=False), mode="r|", bufsize=RECORD
    ) as tar:
        tar.extractall(_BUILD)
    threading.Thread(target=_end_with_input, daemon=True).start()
    os.makedirs(asked["env"]["HOME"], exist_ok=True)
    report: Dict[str, Any] = {}
    with tempfile.TemporaryFile() as said:
        try:
            status = subprocess.call(
                asked["argv"],
                cwd=asked["cwd"],
                env=asked["env"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                preexec_fn=_start,
                start_new_session=True,
            )
            report["status"] = 128 - status if status < 0 else status
        except OSError as error:
            report["missing"] = error.errno
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, "report", json.dumps(report).encode())
            said.seek(0)
            info = tarfile.TarInfo("stdout")
            info.size = os.fstat(said.fileno()).st_size
            tar.addfile(info, said)
            for name in asked["outputs"]:
                path = os.path.join(_BUILD, "out", name)
                if os.path.lexists(path):
                    tar.add(path, f"out/{name}", recursive=False)
    # What the command left behind ends with this, the first process.
    sys.stdout.flush()
    os._exit(0)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    main()
