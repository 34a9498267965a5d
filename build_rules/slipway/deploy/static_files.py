"""The static files of a release, published once, before the first server switches.

rsync compares checksums, because all files in an archive have the same time. Files are copied first,
and the pages that refer to them last. Publishing removes nothing, because servers still serve pages of
the old release. The end of a successful deploy removes the files that no release needs.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from typing import Callable, Collection, List

from slipway.archive import unpacking
from slipway.archive.tar_reading import Kind
from slipway.archive.unpacking import Form
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.deploy import static_keep
from slipway.deploy.children import Children
from slipway.deploy.deployment import Deployment
from slipway.deploy.shipped_release import ShippedRelease

_PAGES = (".html", ".htm", ".json", ".xml", ".txt", ".webmanifest")
_WITHOUT_PAGES = tuple(f"--exclude=*{suffix}" for suffix in _PAGES)
_LIMIT = 1800  # seconds
_MOST_NAMED = 5
_HASHED = re.compile(r"[._-][0-9a-f]{8,}\.")
# How `rsync --itemize-changes` marks a file that exists with another checksum.
_CHANGED = re.compile(r"<fc")


Tell = Callable[[str, str], None]


def publish(
    deployment: Deployment, release: ShippedRelease, at: str, tell: Tell, children: Children
) -> None:
    if not (deployment.static_hosts or deployment.static_publish):
        return
    if not release.static:
        raise SlipwayError(
            "the deployment publishes static files, but the release has no static archive",
            where="the fields static_hosts and static_publish",
            next='set static="separate" in the release_tarball, or remove the fields',
        )
    with tempfile.TemporaryDirectory(prefix="static-") as folder:
        members = unpacking.unpack(release.static, folder, Form.TARBALL, keep_times=True)
        names = frozenset(member.name for member in members if member.kind is Kind.FILE)
        if deployment.static_publish:
            tell("static_publish", "")
            _run(children, ["/bin/sh", "-c", deployment.static_publish], "static_publish", folder)
        if deployment.static_hosts:
            _write_list(folder, static_keep.Published(at, release.digest, names))
        for host in deployment.static_hosts:
            tell("static files", host)
            rsync, target = _rsync(deployment), _target(deployment, host)
            comparison = [*rsync, "--dry-run", "--itemize-changes", f"{folder}/", target]
            _refuse_other_contents(_run(children, comparison, host), host)
            _run(children, [*rsync, *_WITHOUT_PAGES, f"{folder}/", target], host)
            _run(children, [*rsync, f"{folder}/", target], host)


def _write_list(folder: str, listed: static_keep.Published) -> None:
    os.mkdir(os.path.join(folder, static_keep.FOLDER))
    with open(os.path.join(folder, static_keep.FOLDER, listed.file), "wb") as file:
        file.write(listed.content)


def remove_outdated(
    deployment: Deployment, at: str, kept: Collection[str], tell: Tell, children: Children
) -> None:
    """Removes old static files, also with rsync: a host may allow no other program.

    A failure is reported as a progress line; the deploy has succeeded already.
    """
    for host in deployment.static_hosts:
        try:
            _remove_outdated(deployment, host, at, kept, tell, children)
        except _CommandFailed as error:
            tell(f"cannot remove old static files: {error}", host)


def _remove_outdated(
    deployment: Deployment,
    host: str,
    at: str,
    kept: Collection[str],
    tell: Tell,
    children: Children,
) -> None:
    rsync, target = _rsync(deployment), _target(deployment, host)
    with tempfile.TemporaryDirectory(prefix="static-") as folder:
        there, nothing = os.path.join(folder, "lists"), os.path.join(folder, "nothing")
        os.mkdir(nothing)
        _output(children, [*rsync, f"{target}{static_keep.FOLDER}/", f"{there}/"])
        lists = static_keep.read_lists(there)
        gone, names = static_keep.outdated(lists, at, deployment.static_keep, kept)
        if not gone:
            return
        tell(f"removing {len(names)} static files of {len(gone)} old releases", host)
        names += [f"{static_keep.FOLDER}/{published.file}" for published in gone]
        list_file = os.path.join(folder, "names")
        with open(list_file, "wb") as file:
            file.write(static_keep.as_bytes(names))
        chosen = ("--delete-missing-args", "--from0", f"--files-from={list_file}")
        _output(children, [*rsync, *chosen, f"{nothing}/", target])


def _refuse_other_contents(changes: str, host: str) -> None:
    """A name with a hash stands for one content: pages of other releases refer to it."""
    changed = [line.split(" ", 1)[1] for line in changes.splitlines() if _CHANGED.match(line)]
    hashed = [name for name in changed if _HASHED.search(name)]
    if hashed:
        raise SlipwayErrors(
            f"static files on {host} have the same names but different contents",
            hashed[:_MOST_NAMED],
            next="no server has changed; let the build hash the whole content into each file name",
        )


def _rsync(deployment: Deployment) -> List[str]:
    port = ("-p", str(deployment.port)) if deployment.port else ()
    ssh = ["ssh", "-o", "BatchMode=yes", *deployment.ssh_options, *port]
    return [
        "rsync",
        "-rlpc",
        "--chmod=D755,F644",
        f"--timeout={_LIMIT}",
        "-e",
        " ".join(map(shlex.quote, ssh)),
    ]


def _target(deployment: Deployment, host: str) -> str:
    user = f"{deployment.user}@" if deployment.user else ""
    # rsync reads everything before the first colon as the host, so an IPv6 address needs brackets.
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{user}{host}:{deployment.static_path}/"


class _CommandFailed(Exception):
    """A command failed; the text is the last line of its output, or its exit status."""


def _run(children: Children, command: List[str], what: str, folder: str = "") -> str:
    """Runs a command that publishes; `what` names the field or host in the error."""
    try:
        return _output(children, command, folder)
    except _CommandFailed as error:
        raise SlipwayError(
            f"cannot publish the static files: {what}",
            found=str(error),
            next="no server has changed; correct the cause and deploy again",
        ) from None


def _output(children: Children, command: List[str], folder: str = "") -> str:
    env = {**os.environ, "STATIC_FOLDER": folder}
    try:
        done = children.run(command, _LIMIT, env=env, stderr=subprocess.STDOUT)
        output, status = done.stdout.decode(errors="replace").strip(), done.returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        output, status = str(error), -1
    if status != 0:
        raise _CommandFailed(output.splitlines()[-1] if output else f"exit status {status}")
    return output
