"""Runs a step inside a container: runs the command, and writes a tar with its outputs to stdout.

`container_start` has unpacked the inputs. This program is the container's first process. It runs as
the container's root, with only the capabilities to become other users. So the step's program and its
foreign commands run as different users. Its stdin stays open while the caller waits for the result. At
the end of stdin, the container ends too, even if the engine is on another machine.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import tempfile
import threading
from typing import Any, Dict

from slipway.isolation import copied_inputs, jails
from slipway.isolation.cgroups import Cgroup
from slipway.isolation.container_start import BUILD, OUT, PROGRAM_USER
from slipway.isolation.first_process import Bounds, FirstProcess
from slipway.isolation.job import USER_ID, WRITABLE_FOLDERS, Command, hide
from slipway.isolation.resource_limits import Limits
from slipway.isolation.supervision import StartFailed


def _end_with_input() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(137)


def main() -> None:
    task: Dict[str, Any] = json.loads(sys.argv[1])
    threading.Thread(target=_end_with_input, daemon=True).start()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as attempts:
        report = _run(task, output.fileno(), attempts.fileno())
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, "report", json.dumps(report).encode())
            for name, file in (("stdout", output), ("attempts", attempts)):
                file.seek(0)
                info = tarfile.TarInfo(name)
                info.size = os.fstat(file.fileno()).st_size
                tar.addfile(info, file)
            for name in task["outputs"]:
                path = os.path.join(BUILD, OUT, name)
                if os.path.lexists(path):
                    tar.add(path, f"out/{name}", recursive=False)
    # This is the first process of the container, so the kernel kills all other processes with it.
    sys.stdout.flush()
    os._exit(0)


def _run(task: Dict[str, Any], output: int, attempts: int) -> Dict[str, Any]:
    command = Command(tuple(task["argv"]), task["env"], task["cwd"], foreign=task["foreign"])
    hide()
    home = command.env["HOME"]
    os.makedirs(home, exist_ok=True)
    os.chown(home, USER_ID, USER_ID)
    limits = Limits(**task["limits"])
    first = FirstProcess(
        jails.UserJail(USER_ID, PROGRAM_USER, limits.processes),
        attempts if task["guarded"] else None,
        bounds=Bounds(limits, WRITABLE_FOLDERS, Cgroup.of_this_process()),
    )
    # The stdout of the container is the tar, so the command writes to a file.
    ours = os.dup(1)
    os.dup2(output, 1)
    try:
        if command.foreign:
            os.makedirs(command.cwd, exist_ok=True)
            reply = first.run(copied_inputs.as_request(command))
            assert reply is not None
            if reply.missing:
                return {"missing": reply.missing}
            return {"status": 128 - reply.status if reply.status < 0 else reply.status}
        reading, writing = os.pipe()

        def become() -> None:
            try:
                copied_inputs.become("", command, PROGRAM_USER)
            except StartFailed as failed:
                os.write(writing, str(failed.number).encode())

        status = first.serve(become)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            missing = pipe.read()
        return {"missing": int(missing)} if missing else {"status": status}
    finally:
        os.dup2(ours, 1)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    main()
