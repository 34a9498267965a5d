"""The commands `deploy`, `rollback` and `releases`, for machines with neither Pants nor source.

deploy.pex deploy koa-kkl-1.4.0-prod.release.json --to=prod.toml
deploy.pex rollback --to=prod.toml
deploy.pex releases --to=prod.toml
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import Any, Dict, List, Sequence

from build_rules.lib.deploy import deployment, report, shipped_release
from build_rules.lib.deploy.deployment import Deployment
from build_rules.lib.deploy.flow import Coordinator
from build_rules.lib.deploy.progress import Progress
from build_rules.lib.deploy.session import Session, agent_text, remote_command
from build_rules.lib.errors import SlipwayError

_OPTIONS = (
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)


def main(arguments: Sequence[str]) -> int:
    asked = _parser().parse_args(arguments)
    try:
        described = _read(asked.to)
        return _run(asked, deployment.parse(described, asked.to))
    except SlipwayError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ended; hosts that were switching go on to a safe state alone", file=sys.stderr)
        return 130


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


def _run(asked: argparse.Namespace, described: Deployment) -> int:
    release = shipped_release.read(asked.release) if asked.command == "deploy" else None
    progress = Progress(sys.stderr)
    coordinator = Coordinator(
        described, lambda host: Session(ssh_command(described, host)), progress.tell
    )
    progress.hosts = coordinator.hosts
    kind = "outcome"
    try:
        if release is not None:
            kind = "plan" if asked.plan else kind
            coordinator.deploy(release, only_plan=asked.plan)
        elif asked.command == "rollback":
            coordinator.rollback(asked.release)
        else:
            kind = "releases"
            coordinator.releases()
    finally:
        coordinator.close()
        progress.close()
        print(report.render(coordinator.hosts, kind, asked.format))
    return 1 if any(host.failed for host in coordinator.hosts) else 0


def ssh_command(described: Deployment, host: str) -> List[str]:
    """The user's own client and configuration decide; it never asks."""
    where = [
        *(("-l", described.user) if described.user else ()),
        *(("-p", str(described.port)) if described.port else ()),
    ]
    size = len(agent_text().encode())
    remote = remote_command(described.path, size)
    return ["ssh", *_OPTIONS, *described.ssh_options, *where, "--", host, remote]


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
