"""The commands `deploy`, `rollback` and `releases`, for machines with neither Pants nor source.

deploy.pyz deploy koa-kkl-1.4.0-prod.release.json --to=prod.toml
deploy.pyz rollback --to=prod.toml
deploy.pyz releases --to=prod.toml
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import IO, Any, Dict, Iterator, List, NoReturn, Optional, Sequence

from slipway.core.errors import SlipwayError
from slipway.core.toml_text import read_toml
from slipway.deploy import deployment, report, shipped_release
from slipway.deploy.children import Interrupted
from slipway.deploy.deployment import Deployment
from slipway.deploy.flow import Coordinator
from slipway.deploy.host import Host
from slipway.deploy.progress import Progress, write
from slipway.deploy.report import Exit
from slipway.deploy.session import Session, agent_text, remote_command
from slipway.deploy.shipped_release import ShippedRelease

_ENDING = "hosts that are switching complete that alone, nothing else is begun"
_ENDS_WITHIN = 1.5  # seconds after a signal
_OPTIONS = (
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)


def main(arguments: Sequence[str]) -> int:
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal has not every letter
    asked = _parser(arguments).parse_args(arguments)
    command = "plan" if getattr(asked, "plan", False) else str(asked.command)
    run = _Run(command, asked.format == "json")
    with _ended_by_signals(run):
        try:
            run.status = Exit.USAGE
            described = deployment.parse(_read(asked.to), asked.to)
            release = shipped_release.read(asked.release) if asked.command == "deploy" else None
            _carry_out(run, asked, described, release)
        except SlipwayError as wrong:
            run.error = wrong
        except Interrupted:
            pass
        except Exception as wrong:
            run.status = Exit.REFUSED
            run.error = SlipwayError(
                "the coordinator ended by a fault of its own",
                found=f"{type(wrong).__name__}: {wrong}",
                next="tell it to those who keep Slipway; a deploy may be repeated at any time",
            )
    return run.end()


def _open_closed_streams() -> None:
    """Started with `>&-`, files of ours would get the numbers of standard output and error."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (until the program ends)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


@dataclass
class _Run:
    """What there is to be printed at the end, however it comes."""

    command: str
    is_json: bool
    hosts: Sequence[Host] = ()
    status: Exit = Exit.DONE
    error: Optional[SlipwayError] = None
    coordinator: Optional[Coordinator] = None
    ended: Optional[Exit] = None
    printing: threading.Lock = field(default_factory=threading.Lock)

    def end(self) -> int:
        status = self.ended or self.status
        if not self.printing.acquire(blocking=False):
            return status  # the other one that ends this has come first
        outcome = ""
        if self.is_json:
            outcome = report.as_json(self.hosts, self.command, status, self.error)
        elif self.hosts:
            outcome = report.table(self.hosts, self.command)
        fault = write(sys.stdout, f"{outcome}\n" if outcome else "")
        if self.error and not self.ended:
            write(sys.stderr, f"{self.error}\n")
        if fault:
            write(sys.stderr, f"the outcome cannot be printed: {fault.strerror}\n")
        return status or (Exit.INCOMPLETE if fault else Exit.DONE)

    def end_now(self) -> None:
        """What is computed here, such as an archive that is packed, would be waited for."""
        status = self.end()
        os._exit(status)


def _carry_out(
    run: _Run, asked: argparse.Namespace, described: Deployment, release: Optional[ShippedRelease]
) -> None:
    progress = Progress(sys.stderr)
    coordinator = Coordinator(
        described,
        lambda host: Session(ssh_command(described, host), children=coordinator.children),
        progress.tell,
    )
    run.coordinator = coordinator
    progress.hosts = run.hosts = coordinator.hosts
    try:
        if release is not None:
            coordinator.deploy(release, only_plan=asked.plan)
        elif asked.command == "rollback":
            coordinator.rollback(asked.release)
        else:
            coordinator.releases()
    except SlipwayError as wrong:
        run.error = wrong
    finally:
        coordinator.close()
        progress.close()
        run.status = report.exit_of(run.hosts, run.command, run.error)


@contextlib.contextmanager
def _ended_by_signals(run: _Run) -> Iterator[None]:
    """The first signal ends what runs here; what hosts have begun they complete alone."""

    def end(number: int, frame: object) -> None:
        if run.ended:
            return
        run.ended = Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED
        write(sys.stderr, f"ended by {signal.Signals(number).name}: {_ENDING}\n")
        if run.coordinator is None:
            run.end_now()
        else:
            run.coordinator.end()
        late = threading.Timer(_ENDS_WITHIN, run.end_now)
        late.daemon = True
        late.start()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            # Once ended, the table is still to be printed, however often somebody is impatient.
            signal.signal(number, signal.SIG_IGN if run.ended else handler)


class _Parser(argparse.ArgumentParser):
    """One that also tells programs what is wrong, and ends the same where nobody reads it."""

    is_json = False

    def error(self, message: str) -> NoReturn:
        if self.is_json:
            document = report.as_json((), "", Exit.USAGE, SlipwayError(message))
            write(sys.stdout, f"{document}\n")
        super().error(message)

    def _print_message(self, message: str, file: Optional[IO[str]] = None) -> None:
        write(file or sys.stderr, message)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    _Parser.is_json = "--format=json" in arguments or "json" in arguments
    # An abbreviation such as `--form=json` would be taken, and is not seen by the line above.
    parser = _Parser(prog="deploy", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, text in (
        ("deploy", "ship a release and switch to it"),
        ("rollback", "switch to a release that the hosts have"),
        ("releases", "list what the hosts have"),
    ):
        command = commands.add_parser(name, help=text, allow_abbrev=False)
        command.add_argument("--to", required=True, metavar="FILE", help="hosts and settings, TOML")
        command.add_argument("--format", choices=("table", "json"), default="table")
        if name == "deploy":
            command.add_argument("release", help="the release.json beside the tarball")
            command.add_argument("--plan", action="store_true", help="change nothing")
        if name == "rollback":
            command.add_argument("--release", help="an id, a version or a SHA-256")
    return parser


def ssh_command(described: Deployment, host: str) -> List[str]:
    """The user's own client and configuration decide; it never asks."""
    where = [
        *(("-l", described.user) if described.user else ()),
        *(("-p", str(described.port)) if described.port else ()),
    ]
    size = len(agent_text().encode())
    remote = remote_command(described.path, size)
    return ["ssh", *_OPTIONS, *described.ssh_options, *where, "--", host.strip("[]"), remote]


def _read(path: str) -> Dict[str, Any]:
    way_out = 'correct it: hosts = ["app1.example.com"], a line for each field'
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise SlipwayError(
            f'the deployment "{path}" cannot be read',
            found=str(error),
            next="name the TOML file that lists the hosts",
        ) from None
    if not path.endswith(".json"):
        return read_toml(content, path, "deployment", next=way_out)
    try:
        found = json.loads(content)
    except ValueError as error:
        raise SlipwayError(
            f'"{path}" cannot be read', where=path, found=str(error), next=way_out
        ) from None
    if not isinstance(found, dict):
        raise SlipwayError(f'"{path}" is no table of fields', where=path, found=repr(found)[:60])
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
