"""The commands `deploy`, `rollback` and `releases`, for machines with neither Pants nor source.

deploy.pex deploy koa-kkl-1.4.0-prod.release.json --to=prod.toml
deploy.pex rollback --to=prod.toml
deploy.pex releases --to=prod.toml
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import signal
import sys
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from build_rules.lib.deploy import deployment, report, shipped_release
from build_rules.lib.deploy.children import Interrupted
from build_rules.lib.deploy.deployment import Deployment
from build_rules.lib.deploy.flow import Coordinator
from build_rules.lib.deploy.host import Host
from build_rules.lib.deploy.progress import Progress
from build_rules.lib.deploy.report import Exit
from build_rules.lib.deploy.session import Session, agent_text, remote_command
from build_rules.lib.deploy.shipped_release import ShippedRelease
from build_rules.lib.errors import SlipwayError

_ENDING = "hosts that are switching complete that alone, nothing else is begun"
_OPTIONS = (
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)


def main(arguments: Sequence[str]) -> int:
    asked = _parser().parse_args(arguments)
    command = "plan" if getattr(asked, "plan", False) else str(asked.command)
    hosts: Sequence[Host] = ()
    error: Optional[SlipwayError] = None
    try:
        described = deployment.parse(_read(asked.to), asked.to)
        release = shipped_release.read(asked.release) if asked.command == "deploy" else None
    except SlipwayError as wrong:
        status, error = Exit.USAGE, wrong
    else:
        hosts, status, error = _run(asked, command, described, release)
    # First what programs read: who reads the message may end both.
    if asked.format == "json":
        print(report.as_json(hosts, command, status, error), flush=True)
    elif hosts:
        print(report.table(hosts, command), flush=True)
    if error:
        print(error, file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deploy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, text in (
        ("deploy", "ship a release and switch to it"),
        ("rollback", "switch to a release that the hosts have"),
        ("releases", "list what the hosts have"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--to", required=True, metavar="FILE", help="hosts and settings, TOML")
        command.add_argument("--format", choices=("table", "json"), default="table")
        if name == "deploy":
            command.add_argument("release", help="the release.json beside the tarball")
            command.add_argument("--plan", action="store_true", help="change nothing")
        if name == "rollback":
            command.add_argument("--release", help="an id, a version or a SHA-256")
    return parser


def _run(
    asked: argparse.Namespace,
    command: str,
    described: Deployment,
    release: Optional[ShippedRelease],
) -> Tuple[Sequence[Host], Exit, Optional[SlipwayError]]:
    progress = Progress(sys.stderr)
    coordinator = Coordinator(
        described,
        lambda host: Session(ssh_command(described, host), children=coordinator.children),
        progress.tell,
    )
    progress.hosts = hosts = coordinator.hosts
    error: Optional[SlipwayError] = None
    with _ended_by_signals(coordinator, progress) as ended:
        try:
            if release is not None:
                coordinator.deploy(release, only_plan=asked.plan)
            elif asked.command == "rollback":
                coordinator.rollback(asked.release)
            else:
                coordinator.releases()
        except SlipwayError as wrong:
            error = wrong
        except Interrupted:
            pass
        finally:
            coordinator.close()
            progress.close()
    status = ended[0] if ended else report.exit_of(hosts, command, error)
    return hosts, status, error


@contextlib.contextmanager
def _ended_by_signals(coordinator: Coordinator, progress: Progress) -> Iterator[List[Exit]]:
    """The first SIGINT or SIGTERM ends what runs here; what hosts have begun they complete alone."""
    ended: List[Exit] = []

    def end(number: int, frame: object) -> None:
        if not ended:
            ended.append(Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED)
            coordinator.end()
            progress.tell(f"ended by {signal.Signals(number).name}: {_ENDING}", "")

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            # Once ended, the table is still to be printed, however often somebody is impatient.
            signal.signal(number, signal.SIG_IGN if ended else handler)


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
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SlipwayError(
            f'the deployment "{path}" cannot be read',
            found=str(error),
            next="name the TOML file that lists the hosts",
        ) from None
    try:
        return dict(json.loads(text)) if path.endswith(".json") else _load_toml(text)
    except ValueError as error:
        raise SlipwayError(f'"{path}" cannot be read', where=path, found=str(error)) from None


def _load_toml(text: str) -> Dict[str, Any]:
    try:
        reader = importlib.import_module("tomllib")  # of CPython 3.11 and newer
    except ImportError:
        reader = importlib.import_module("toml")
    return dict(reader.loads(text))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
