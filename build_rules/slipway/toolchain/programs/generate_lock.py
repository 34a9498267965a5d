"""Writes the lock of a toolchain image: resolves what its spec wants by what a mirror has now.

    generate_lock.py --spec image.json --spec-path toolchains/base/image.json \
        --settings settings.json --out packages.lock

`--spec-path` is what messages call the spec.  It runs on the runner's CPython with the network, and
reads apt's own configuration; the settings file says which mirror stands in for it, if any.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from typing import Iterator, Optional, Sequence

from slipway.core.errors import SlipwayError, suggesting
from slipway.debian import signature
from slipway.debian.apt_config import read_apt_config
from slipway.debian.archive import Trust, Untrusted, read_suite
from slipway.debian.control import TRY_ANOTHER
from slipway.debian.lock import DebianLock, LockedPackage, read_lock, write_lock
from slipway.debian.mirrors import DebianMirrors
from slipway.debian.resolver import WantedPackages, resolve
from slipway.fetch.program import guarded, write_text
from slipway.fetch.settings import Settings, read_settings
from slipway.toolchain.image_spec import read_image_spec


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the image's JSON file")
    parser.add_argument("--spec-path", help="what messages call it (default: --spec)")
    parser.add_argument(
        "--below", action="append", default=[], help="a lock of an image below; repeatable"
    )
    parser.add_argument("--resolve", required=True, help="how `generate-lockfiles` knows the lock")
    parser.add_argument("--old", help="the lock as it was, if there is one")
    parser.add_argument(
        "--verifier", action="append", default=[], help="a package with what gpgv needs; repeatable"
    )
    parser.add_argument("--settings", required=True, help="the JSON file with the settings")
    parser.add_argument("--out", required=True, help="the lock to write")
    options = parser.parse_args(arguments)
    settings = read_settings(options.settings)
    return guarded(lambda: _run(options, settings))


def _run(options: argparse.Namespace, settings: Settings) -> int:
    with open(options.spec, encoding="utf-8") as file:
        spec = read_image_spec(file.read(), options.spec_path or options.spec)
    below = [package for file in options.below for package in _read_packages(file)]
    config = read_apt_config(settings.env, settings.debian_mirror)
    mirrors = DebianMirrors(config, settings.patience)
    with tempfile.TemporaryDirectory() as folder:
        verifier = signature.of_machine(settings.env)
        if options.verifier:
            verifier = signature.of_packages(options.verifier, folder)
        blind = spec.suite in settings.trusted_suites
        trust = Trust(verifier, _day_of(options.old, spec.suite), blind)
        with _suggesting_trust(spec.suite, options.resolve):
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
        # What a build would refuse comes from the mirror, and is written nowhere.
        read_lock(text, "the new lock")
    write_text(options.out, text)
    size = sum(package.size for package in lock.packages) / 1e6
    print(f"{len(lock.packages)} packages, {size:.1f} MB, {lock.suite} {lock.release}")
    return 0


def _day_of(old: Optional[str], suite: str) -> Optional[str]:
    """Of which day the archive was that the old lock was made from, if it is one of `suite`."""
    if not old or not os.path.exists(old):
        return None
    try:
        with open(old, encoding="utf-8", errors="replace") as file:
            lock = read_lock(file.read(), old)
    except SlipwayError:
        return None  # it is damaged, which is why it is written anew
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
            next=f"{error.next}\nor, for a run in which you know why and trust the mirror: {command}",
        ) from None


def _read_packages(file: str) -> Sequence[LockedPackage]:
    with open(file, encoding="utf-8") as lock:
        return read_lock(lock.read(), file).packages


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
