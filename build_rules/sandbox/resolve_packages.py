"""Writes the lock of a toolchain image: resolves what its spec wants by what a mirror has now.

    resolve_packages.py --spec image.json --spec-path toolchains/base/image.json \
        --settings settings.json --out packages.lock

`--spec-path` is what messages call the spec.  It runs on the runner's CPython with the network, and
reads apt's own configuration; the settings file says which mirror stands in for it, if any.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Sequence

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from build_rules.lib.apt_config import read_apt_config
from build_rules.lib.debian_archive import read_suite
from build_rules.lib.debian_fetch import DebianMirrors
from build_rules.lib.debian_lock import DebianLock, LockedPackage, read_lock, write_lock
from build_rules.lib.debian_resolve import resolve
from build_rules.lib.fetch_run import Settings, guarded, read_settings, write_text
from build_rules.lib.image_spec import read_image_spec


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the image's JSON file")
    parser.add_argument("--spec-path", help="what messages call it (default: --spec)")
    parser.add_argument(
        "--below", action="append", default=[], help="a lock of an image below; repeatable"
    )
    parser.add_argument("--settings", required=True, help="the JSON file with the settings")
    parser.add_argument("--out", required=True, help="the lock to write")
    options = parser.parse_args(arguments)
    settings = read_settings(options.settings)
    path = options.spec_path or options.spec
    return guarded(lambda: _run(options.spec, path, options.below, settings, options.out))


def _run(
    spec_file: str, path: str, below_files: Sequence[str], settings: Settings, out: str
) -> int:
    with open(spec_file, encoding="utf-8") as file:
        spec = read_image_spec(file.read(), path)
    below = [package for file in below_files for package in _read_packages(file)]
    config = read_apt_config(settings.env, settings.debian_mirror)
    mirrors = DebianMirrors(config, settings.patience)
    suite = read_suite(mirrors, spec.suite, spec.component, spec.architecture, settings.env)
    print(f"signature of {spec.suite}: {suite.signature}", file=sys.stderr)
    lock = DebianLock(
        suite=spec.suite,
        component=spec.component,
        architecture=spec.architecture,
        release=suite.release,
        date=suite.date,
        wanted=tuple(sorted(spec.wanted)),
        cut=tuple(sorted(spec.cut)),
        packages=resolve(spec, suite.packages, below),
    )
    write_text(out, write_lock(lock))
    size = sum(package.size for package in lock.packages) / 1e6
    print(f"{len(lock.packages)} packages, {size:.1f} MB, {lock.suite} {lock.release}")
    return 0


def _read_packages(file: str) -> Sequence[LockedPackage]:
    with open(file, encoding="utf-8") as lock:
        return read_lock(lock.read(), file).packages


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
