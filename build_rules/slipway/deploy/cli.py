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

_ENDING = "hosts that are switching finish the switch on their own; no other step starts"
_ENDS_WITHIN = 1.5  # seconds after a signal
_OPTIONS = (
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)


def main(arguments: Sequence[str]) -> int:
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal with a small character set cannot print every letter of an answer.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser(arguments).parse_args(arguments)
    command = "plan" if getattr(options, "plan", False) else str(options.command)
    run = _Run(command, options.format == "json")
    with _ended_by_signals(run):
        try:
            run.status = Exit.USAGE
            described = deployment.parse(_read(options.to), options.to)
            release = shipped_release.read(options.release) if options.command == "deploy" else None
            _carry_out(run, options, described, release)
        except SlipwayError as wrong:
            run.error = wrong
        except Interrupted:
            pass
        except Exception as wrong:
            run.status = Exit.REFUSED
            run.error = SlipwayError(
                "internal error in the coordinator",
                found=f"{type(wrong).__name__}: {wrong}",
                next="report it to the maintainers of Slipway; you can repeat a deploy at any time",
            )
    return run.end()


def _open_closed_streams() -> None:
    """Opens /dev/null for standard output and error if they are closed.

    A process that starts with `>&-` would otherwise give descriptor 1 or 2 to its next open file,
    and whatever it prints would go into that file.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (until the program ends)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


@dataclass
class _Run:
    """The state of one command, and what it prints however it ends."""

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
            return status  # the timer and the main thread can both end the run; the first prints
        outcome = ""
        if self.is_json:
            outcome = report.as_json(self.hosts, self.command, status, self.error)
        elif self.hosts:
            outcome = report.table(self.hosts, self.command)
        fault = write(sys.stdout, f"{outcome}\n" if outcome else "")
        if self.error and not self.ended:
            write(sys.stderr, f"{self.error}\n")
        if fault:
            write(sys.stderr, f"cannot print the outcome: {fault.strerror}\n")
        return status or (Exit.INCOMPLETE if fault else Exit.DONE)

    def end_now(self) -> None:
        """Ends the process without waiting for threads, such as one that packs an archive."""
        status = self.end()
        os._exit(status)


def _carry_out(
    run: _Run, options: argparse.Namespace, described: Deployment, release: Optional[ShippedRelease]
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
            coordinator.deploy(release, only_plan=options.plan)
        elif options.command == "rollback":
            coordinator.rollback(options.release)
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
    """The first signal ends the work here; hosts finish a switch that they have started."""

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
            # After the first signal the table is still to be printed; ignore further signals.
            signal.signal(number, signal.SIG_IGN if run.ended else handler)


class _Parser(argparse.ArgumentParser):
    """Prints errors as JSON too, and exits with the same status if nobody reads the output."""

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
    # By default argparse accepts abbreviations such as `--form=json`; the line above would miss them.
    parser = _Parser(prog="deploy", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, text in (
        ("deploy", "ship a release and switch to it"),
        ("rollback", "switch back to a release that the hosts still have"),
        ("releases", "list the releases on the hosts"),
    ):
        command = commands.add_parser(name, help=text, allow_abbrev=False)
        command.add_argument(
            "--to", required=True, metavar="FILE", help="TOML file with the hosts and settings"
        )
        command.add_argument("--format", choices=("table", "json"), default="table")
        if name == "deploy":
            command.add_argument("release", help="the release.json beside the tarball")
            command.add_argument(
                "--plan", action="store_true", help="show what would happen and change nothing"
            )
        if name == "rollback":
            command.add_argument("--release", help="id, version or SHA-256 of the release")
    return parser


def ssh_command(described: Deployment, host: str) -> List[str]:
    """The command that starts the agent on a host; ssh never prompts (BatchMode).

    The user's own ssh configuration applies.
    """
    where = [
        *(("-l", described.user) if described.user else ()),
        *(("-p", str(described.port)) if described.port else ()),
    ]
    size = len(agent_text().encode())
    remote = remote_command(described.path, size)
    return ["ssh", *_OPTIONS, *described.ssh_options, *where, "--", host.strip("[]"), remote]


def _read(path: str) -> Dict[str, Any]:
    way_out = 'write one field per line, such as hosts = ["app1.example.com"]'
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise SlipwayError(
            f'cannot read the deployment "{path}"',
            found=str(error),
            next="pass the TOML file that lists the hosts, such as --to=prod.toml",
        ) from None
    if not path.endswith(".json"):
        return read_toml(content, path, "deployment", next=way_out)
    try:
        fields = json.loads(content)
    except ValueError as error:
        raise SlipwayError(
            f'cannot parse "{path}"', where=path, found=str(error), next=way_out
        ) from None
    if not isinstance(fields, dict):
        raise SlipwayError(
            f'"{path}" is not a table of fields', where=path, found=repr(fields)[:60]
        )
    return fields


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
