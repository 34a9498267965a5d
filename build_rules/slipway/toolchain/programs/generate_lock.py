"""Writes the lock of a toolchain image: resolves its wanted packages with the index of a mirror.

The program runs on the runner's CPython with network access, and reads the apt configuration; the
settings file can set another mirror.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass
from typing import Iterator, Optional, Sequence, Tuple

from slipway.core.errors import SlipwayError, suggesting
from slipway.debian import signature
from slipway.debian.apt_config import read_apt_config
from slipway.debian.archive import Trust, Untrusted, read_suite
from slipway.debian.control import TRY_ANOTHER
from slipway.debian.lock import DebianLock, LockedPackage, read_lock, write_lock
from slipway.debian.mirrors import DebianMirrors
from slipway.debian.resolver import WantedPackages, resolve
from slipway.fetch.program import write_text
from slipway.fetch.settings import Settings
from slipway.step.interface import Output, StepProgram
from slipway.step.network_frame import run
from slipway.toolchain.image_spec import read_image_spec


@dataclass(frozen=True)
class Arguments:
    """`spec` is the image's JSON file, with the name `path` in messages; `old` is the current lock.

    `below` are the locks of images below. `verifier` are packages that gpgv needs, if the machine
    lacks it. `resolve` is the lock's name in `generate-lockfiles`.
    """

    spec: str
    path: str
    old: str
    resolve: str
    below: Tuple[str, ...] = ()
    verifier: Tuple[str, ...] = ()


PROGRAM = StepProgram(__name__, Arguments)
LOCK = Output("packages.lock")


def generate_lock(arguments: Arguments, settings: Settings) -> None:
    with open(arguments.spec, encoding="utf-8") as file:
        spec = read_image_spec(file.read(), arguments.path)
    below = [package for file in arguments.below for package in _read_packages(file, spec.suite)]
    config = read_apt_config(settings.env, settings.debian_mirror)
    mirrors = DebianMirrors(config, settings.patience)
    with tempfile.TemporaryDirectory() as folder:
        verifier = signature.of_machine(settings.env)
        if arguments.verifier:
            verifier = signature.of_packages(arguments.verifier, folder)
        blind = spec.suite in settings.trusted_suites
        trust = Trust(verifier, _day_of(arguments.old, spec.suite), blind)
        with _suggesting_trust(spec.suite, arguments.resolve):
            suite = read_suite(mirrors, spec.suite, spec.component, spec.architecture, trust)
    for doubt in suite.doubts:
        print(f"accepted because of debian_trusted: {doubt}", file=sys.stderr)
    wanted = WantedPackages(spec.file, spec.suite, spec.component, spec.wanted, spec.cut)
    lock = DebianLock(
        suite=spec.suite,
        component=spec.component,
        architecture=spec.architecture,
        release=suite.release,
        date=suite.date,
        wanted=tuple(sorted(spec.wanted)),
        cut=tuple(sorted(spec.cut)),
        packages=resolve(wanted, suite.packages, below),
    )
    text = write_lock(lock)
    with suggesting(TRY_ANOTHER, where=f"the mirrors of {config.origin}"):
        # A lock that a build would reject is never written. Such data can only come from the
        # mirror.
        read_lock(text, "the new lock")
    write_text(LOCK.path, text)
    size = sum(package.size for package in lock.packages) / 1e6
    print(f"{len(lock.packages)} packages, {size:.1f} MB, {lock.suite} {lock.release}")


def _day_of(old: Optional[str], suite: str) -> Optional[str]:
    """The day of the archive that the current lock was made from, if it is a lock of `suite`."""
    if not old or not os.path.exists(old):
        return None
    try:
        with open(old, encoding="utf-8", errors="replace") as file:
            lock = read_lock(file.read(), old)
    except SlipwayError:
        return None  # the lock is damaged, and will be replaced
    return lock.date if lock.suite == suite else None


@contextlib.contextmanager
def _suggesting_trust(suite: str, resolve: str) -> Iterator[None]:
    try:
        yield
    except Untrusted as error:
        command = f"./pants --slipway-debian-trusted={suite} generate-lockfiles --resolve={resolve}"
        raise SlipwayError(
            error.what,
            where=error.where,
            found=error.found,
            next=f"{error.next}\nor, if you know the reason and trust the mirror: {command}",
        ) from None


def _read_packages(file: str, suite: str) -> Sequence[LockedPackage]:
    """The packages of the lock `file`; none if the lock is for another suite.

    A package of another suite satisfies no dependency, because packages of this suite were built
    and tested with the packages of this suite.
    """
    with open(file, encoding="utf-8") as text:
        lock = read_lock(text.read(), file)
    return lock.packages if lock.suite == suite else ()


if __name__ == "__main__":
    run(PROGRAM, generate_lock)
