"""What a step's program and the step's first process say to each other about foreign commands.

The program asks on one socket, a request at a time; with the request goes the descriptor that takes
the command's output.  Messages are JSON behind their length in bytes.
"""

from __future__ import annotations

import array
import json
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

DESCRIPTOR = 3
"""The program's end of the socket."""

RUN, STOP = "run", "stop"
_LENGTH = struct.Struct("=I")


class Subject(NamedTuple):
    """Whose scripts run, as the step knows it: `scripts` maps npm's events to their command lines.

    A process says itself which of those events it belongs to; no other name is taken from it.
    """

    package: str = ""
    version: str = ""
    scripts: Mapping[str, str] = {}


NOBODY = Subject()


@dataclass(frozen=True)
class Request:
    """A foreign command: `cwd` and the folders in `writable` are absolute paths inside the root.

    It may write to those folders, to the temporary folders and to its home, and nowhere else.
    """

    argv: Tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    writable: Tuple[str, ...] = ()
    subject: Subject = NOBODY


@dataclass(frozen=True)
class Reply:
    """How the command ended: `status` is an exit status, or minus the number of a signal.

    `missing` is the error number of a command that could not be started, `refused` what kept the
    jail from being made. `breach` holds the parts of an error, of a command that was ended because
    it went beyond a limit of the step.
    """

    status: int = 0
    missing: int = 0
    refused: str = ""
    breach: Optional[Mapping[str, str]] = None


def send_request(to: socket.socket, request: Request, output: int) -> None:
    content = {**asdict(request), "subject": request.subject._asdict()}
    _send(to, {RUN: content}, [output])


def send_stop(to: socket.socket) -> None:
    """Asks for the end of the command that runs; without one, nothing happens."""
    _send(to, {STOP: True})


def send_reply(to: socket.socket, reply: Reply) -> None:
    _send(to, asdict(reply))


def receive_reply(source: socket.socket) -> Reply:
    message, _ = _receive(source)
    if message is None:
        raise ConnectionResetError("the first process of the step is gone")
    return Reply(**message)


def receive_request(source: socket.socket) -> Tuple[Optional[Request], Optional[int]]:
    """A request with its descriptor; neither of a program that wants its command stopped.

    Raises EOFError when the program has closed its end.
    """
    message, descriptor = _receive(source)
    if message is None:
        raise EOFError
    if RUN not in message:
        return None, None
    content = message[RUN]
    request = Request(
        argv=tuple(content["argv"]),
        env=content["env"],
        cwd=content["cwd"],
        writable=tuple(content["writable"]),
        subject=Subject(**content["subject"]),
    )
    return request, descriptor


def _send(to: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    content = json.dumps(message).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    to.sendmsg([_LENGTH.pack(len(content))], rights if descriptors else [])
    to.sendall(content)


def _receive(source: socket.socket) -> Tuple[Optional[Dict[str, Any]], Optional[int]]:
    """A message and the descriptor that came with it; no message at the end of the stream."""
    space = socket.CMSG_SPACE(array.array("i").itemsize)
    head, ancillary, _, _ = source.recvmsg(_LENGTH.size, space, socket.MSG_WAITALL)
    if len(head) < _LENGTH.size:
        return None, None
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    (left,) = _LENGTH.unpack(head)
    content = b""
    while left:
        part = source.recv(min(left, 1 << 16))
        if not part:
            return None, None
        content += part
        left -= len(part)
    message: Dict[str, Any] = json.loads(content)
    return message, descriptors[0] if descriptors else None
