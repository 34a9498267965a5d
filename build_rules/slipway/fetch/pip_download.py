"""Downloads a wheel with pip, which knows the Python index of the user.

pip has no command that prints the index or the address of a file, so pip itself fetches: with the
user's `pip.conf` and `PIP_…` variables, their logins, proxies and CAs.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from typing import Callable, List, TypeVar

from slipway.core.printable import one_line
from slipway.fetch.faults import FetchFailed, FetchFault
from slipway.fetch.settings import Settings

R = TypeVar("R")

# Wheels for these hosts are acceptable; the ABI gate decides which binaries a release may have.
_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
_SECONDS = 1800
_ABSENT = re.compile(r"No matching distribution found|Could not find a version")
_OTHER_HASH = re.compile(r"DO NOT MATCH THE HASHES", re.IGNORECASE)
# To pip, an index that it cannot read is one without the project. Its verbose output says more.
_UNREAD = re.compile(
    r"Could not fetch URL \S+: (?!404 )(.+) - skipping"
    r"|(The repository located at \S+ is not a trusted or secure host)"
)
_INNER_CAUSE = re.compile(r".*\(Caused by (.+)\)")


def with_wheel(
    settings: Settings, project: str, version: str, sha256: str, use: Callable[[str], R]
) -> R:
    """Calls `use` with the path of the wheel of `project` in this version, for x86-64 Linux.

    With a `sha256`, only a file with this hash is downloaded. Raises FetchFailed.
    """
    subject = f"{project} {version}"
    if not settings.pip:
        raise FetchFailed(
            FetchFault(subject, "there is no pip", "install it: apt-get install python3-pip")
        )
    with tempfile.TemporaryDirectory() as folder:
        wanted = os.path.join(folder, "wanted.txt")
        with open(wanted, "w", encoding="utf-8") as file:
            file.write(f"{project}=={version}{f' --hash=sha256:{sha256}' if sha256 else ''}\n")
        target = os.path.join(folder, "wheels")
        platforms = [f"--platform={name}" for name in _PLATFORMS]
        try:
            done = subprocess.run(
                [*settings.pip, "download", "--no-deps", "--only-binary=:all:", *platforms]
                + ["-vv", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
                + ["--dest", target, "--requirement", wanted],
                env=dict(settings.env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            reason = f"pip did not finish within {_SECONDS} seconds"
            raise FetchFailed(FetchFault(subject, reason, "run the same command again")) from None
        if done.returncode != 0:
            output, told = (one.decode("utf-8", "replace") for one in (done.stderr, done.stdout))
            raise FetchFailed(_fault(subject, output, told))
        (name,) = os.listdir(target)
        return use(os.path.join(target, name))


def _fault(subject: str, output: str, verbose: str) -> FetchFault:
    if _OTHER_HASH.search(output):
        return FetchFault(
            subject,
            "the wheel of the Python index has another SHA-256",
            "restore the definition from version control",
        )
    unread = _UNREAD.search(f"{output}\n{verbose}")
    if unread and _ABSENT.search(output):
        reason = unread[1] or unread[2]
        inner = _INNER_CAUSE.fullmatch(reason)
        return FetchFault(
            subject,
            f"pip cannot read the Python index: {one_line(inner[1] if inner else reason)}",
            "pip config list, which shows the index that pip uses",
        )
    if _ABSENT.search(output):
        return FetchFault(
            subject,
            "the Python index does not have it for x86-64 Linux",
            "pip config list, which shows the index that pip uses",
            absent=True,
        )
    errors: List[str] = [line for line in output.splitlines() if line.startswith("ERROR")]
    last = errors[-1:] or output.splitlines()[-1:] or ["no output"]
    return FetchFault(
        subject, f"pip failed: {one_line(last[0])}", "pip config list, which shows its index"
    )
