"""The protocol between a step's program and the step's first process, for foreign commands.

The program sends requests on a socket, one at a time. With each request it sends a descriptor for
the command's output. A message is its length in bytes, followed by JSON.
"""

from __future__ import annotations

import array
import json
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

DESCRIPTOR = 3
"""The descriptor of the program's end of the socket."""

RUN, STOP = "run", "stop"
_LENGTH = struct.Struct("=I")


class Subject(NamedTuple):
    """The package whose scripts run; `scripts` maps npm events to command lines.

    The step knows these values. A process can only choose among the events, with its environment.
    """

    package: str = ""
    version: str = ""
    scripts: Mapping[str, str] = {}


NOBODY = Subject()


@dataclass(frozen=True)
class Request:
    """A foreign command; `cwd` and the folders in `writable` are absolute paths inside the root.

    The command may write only to these folders, to the temporary folders and to its home.
    """

    argv: Tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    writable: Tuple[str, ...] = ()
    subject: Subject = NOBODY


@dataclass(frozen=True)
class Reply:
    """The result of a command; `status` is an exit status, or the negative number of a signal.

    `missing` is the errno of a command that could not be started. `refused` says why the jail could
    not be created. `breach` has the parts of a SlipwayError if the command exceeded a limit of the
    step and was killed.
    """

    status: int = 0
    missing: int = 0
    refused: str = ""
    breach: Optional[Mapping[str, str]] = None


def send_request(to: socket.socket, request: Request, output: int) -> None:
    content = {**asdict(request), "subject": request.subject._asdict()}
    _send(to, {RUN: content}, [output])


def send_stop(to: socket.socket) -> None:
    """Requests the end of the running command; has no effect without a command."""
    _send(to, {STOP: True})


def send_reply(to: socket.socket, reply: Reply) -> None:
    _send(to, asdict(reply))


def receive_reply(source: socket.socket) -> Reply:
    message, _ = _receive(source)
    if message is None:
        raise ConnectionResetError("the first process of the step has ended")
    return Reply(**message)


def receive_request(source: socket.socket) -> Tuple[Optional[Request], Optional[int]]:
    """A request and its descriptor; both are None for a request to stop the command.

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
    """A message and its descriptor, if it has one; no message at the end of the stream."""
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
