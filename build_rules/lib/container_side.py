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
import sys
import tarfile
import tempfile
import threading
import types
from typing import Any, Dict

_BUILD = "/build"
RECORD = tarfile.RECORDSIZE
"""The input is read by whole records, and nothing beyond the last of the archive."""


def _end_with_input() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(137)


def _become(asked: Dict[str, Any], said: int, report: int) -> None:
    """Turns this process into the command; what keeps it from starting is written to `report`."""
    os.setsid()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Python ignores it, and an ignored signal stays ignored in what is started.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said, 1)
    try:
        os.chdir(asked["cwd"])
        os.execvpe(asked["argv"][0], asked["argv"], asked["env"])
    except OSError as error:
        os.write(report, str(error.errno).encode())


def _run(asked: Dict[str, Any], said: int, attempts: int) -> Dict[str, Any]:
    guard = types.ModuleType("network_guard")
    reading, writing = os.pipe()
    try:
        exec(asked["guard"], guard.__dict__)
        child = guard.guarded_child(lambda: _become(asked, said, writing), attempts)
    except ImportError as error:
        os.write(attempts, json.dumps({"refused": f"the image's Python: {error}"}).encode() + b"\n")
        child = os.fork()
        if child == 0:
            _become(asked, said, writing)
            os._exit(127)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        missing = pipe.read()
    while True:  # orphans of the command end up here too
        pid, status = os.wait()
        if pid == child:
            break
    if missing:
        return {"missing": int(missing)}
    ended = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return {"status": ended}


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
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as attempts:
        report = _run(asked, said.fileno(), attempts.fileno())
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, "report", json.dumps(report).encode())
            for name, file in (("stdout", said), ("attempts", attempts)):
                file.seek(0)
                info = tarfile.TarInfo(name)
                info.size = os.fstat(file.fileno()).st_size
                tar.addfile(info, file)
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
