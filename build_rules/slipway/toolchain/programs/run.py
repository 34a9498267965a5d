"""Runs a shell or a command inside a toolchain image, for interactive use.

    run.py CACHE NAME LAYER:SHA256... [-- COMMAND...]

The goal `run` starts this program outside any sandbox. Pants starts it without a controlling
terminal. So the shell gets a new terminal, and this program copies bytes between the two terminals.
Ctrl-C and job control work in the inner terminal, and end neither Pants nor the shell.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
import termios
import tty
from typing import Iterator, List, Mapping, Tuple

from slipway.core.errors import SlipwayError
from slipway.isolation import job, namespaces, tree_cache
from slipway.isolation.job import Command, IsolationRefused
from slipway.isolation.tree_cache import Layer

_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/home/build",
    "USER": "build",
    "LOGNAME": "build",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
}
_SIZE_EVERY = 0.5  # seconds between two checks of the size of the outer terminal


def main(arguments: List[str]) -> int:
    cache, name, *rest = arguments
    asked = rest.index("--") if "--" in rest else len(rest)
    layers = [Layer(*one.rsplit(":", 1)) for one in rest[:asked]]
    argv = tuple(rest[asked + 1 :]) or ("/bin/sh", *(["-i"] if os.isatty(0) else []))
    env = {**_ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb"), "PS1": f"{name}$ "}
    try:
        with tree_cache.unpacked(cache, layers) as root:
            if os.isatty(0):
                return _in_terminal(root, argv, env)
            command = Command(argv, {**env, "PS1": ""}, "/build", stdin=0)
            return namespaces.run(root, [], command)
    except IsolationRefused as error:
        refused = SlipwayError(
            "this machine does not allow user namespaces, which the shell needs",
            found=str(error),
            next=f"./pants package //toolchains/{name}   (then load the archive with docker load)",
        )
        print(refused, file=sys.stderr)
        return 1
    except job.CommandNotStarted as error:
        print(f"{error}", file=sys.stderr)
        return 127


def _in_terminal(root: str, argv: Tuple[str, ...], env: Mapping[str, str]) -> int:
    outer, inner = os.openpty()
    _copy_size(0, outer)
    # The shell runs in a child process, because this process copies bytes until the shell ends.
    child = os.fork()
    if child == 0:
        os.close(outer)
        job.die_with_parent()
        status = 1
        try:
            status = namespaces.run(root, [], Command(argv, env, "/build", terminal=inner))
        except (IsolationRefused, job.CommandNotStarted) as error:
            os.write(inner, f"{error}\n".encode())
        finally:
            os._exit(status)
    os.close(inner)
    with _raw(0):
        _relay(outer)
    return job.exit_status(os.waitpid(child, 0)[1])


def _relay(outer: int) -> None:
    """Copies bytes until the other end of the inner terminal is closed."""
    sources = [0, outer]
    while True:
        ready, _, _ = select.select(sources, [], [], _SIZE_EVERY)
        # The kernel sends SIGWINCH only to processes of the terminal's session, and this process is
        # in another. So the size is checked here.
        _copy_size(0, outer)
        for source in ready:
            try:
                data = os.read(source, 1 << 16)
            except OSError:
                data = b""
            if source == outer:
                if not data:
                    return
                os.write(1, data)
            elif data:
                os.write(outer, data)
            else:
                sources.remove(0)


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _copy_size(source: int, target: int) -> None:
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        if size != fcntl.ioctl(target, termios.TIOCGWINSZ, bytes(8)):
            fcntl.ioctl(target, termios.TIOCSWINSZ, size)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
