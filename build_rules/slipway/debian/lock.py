"""The lock of a toolchain image: the exact Debian packages, without any host.

Each package is on its own line. So two branches that update different packages merge without
conflict, and a review shows what changed. File names are relative to a mirror's base address.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Dict, List, Tuple

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.json_fields import Field, read_json

FORMAT = 1

NAME = r"[a-z0-9][a-z0-9+.-]+"
_VERSION = r"[0-9A-Za-z.+~:-]+"
_SHA256 = r"[0-9a-f]{64}"
# Without empty, `.` or `..` parts, because the name becomes part of an address.
_POOL_FILE = r"pool(/(?!\.)[0-9A-Za-z.+~_%-]+)+\.deb"
_HEAD = ("suite", "component", "architecture", "release", "date")
_LARGEST_PACKAGE = 2 << 30


@dataclass(frozen=True)
class LockedPackage:
    name: str
    version: str
    architecture: str
    filename: str
    size: int
    sha256: str


@dataclass(frozen=True)
class DebianLock:
    """A lock; `release` and `date` are from the Release file of the archive it was made from.

    `packages` is the result of resolving `wanted` without the dependencies `cut`.
    """

    suite: str
    component: str
    architecture: str
    release: str
    date: str
    wanted: Tuple[str, ...]
    cut: Tuple[str, ...]
    packages: Tuple[LockedPackage, ...]


def read_lock(content: str, file: str, next: str = "") -> DebianLock:
    """Parses a lock; raises SlipwayError with `next`, the command that writes a valid lock."""
    top = read_json(content, file, next)
    format_ = top.mapping().get("format")
    if format_ is None or format_.value != FORMAT:
        raise (format_ or top).fault(f'"format": {FORMAT}', next)
    fields = top.record(["format", *_HEAD, "wanted", "cut", "packages"])
    return DebianLock(
        suite=fields["suite"].text(r"[a-z][a-z0-9.-]*", "a suite such as bullseye"),
        component=fields["component"].text(r"[a-z][a-z-]*", "a component such as main"),
        architecture=fields["architecture"].text(r"[a-z0-9]+", "an architecture such as amd64"),
        release=fields["release"].text(r"[0-9A-Za-z][0-9A-Za-z.-]*", "a release such as 11.11"),
        date=fields["date"].text(r"\d{4}-\d{2}-\d{2}", "a date such as 2024-08-31"),
        wanted=_names(fields["wanted"]),
        cut=_names(fields["cut"]),
        packages=_packages(fields["packages"], file, next),
    )


def _names(field: Field) -> Tuple[str, ...]:
    return tuple(item.text(NAME, "a package name") for item in field.items())


def _packages(field: Field, file: str, next: str) -> Tuple[LockedPackage, ...]:
    faults: List[SlipwayError] = []
    packages: Dict[str, LockedPackage] = {}
    for item in field.items():
        try:
            package = _package(item)
        except SlipwayError as error:
            faults.append(error)
            continue
        if package.name in packages:
            other = packages[package.name].version
            faults.append(
                SlipwayError(
                    f'"{file}" has the package "{package.name}" twice',
                    where=f"{file}: {item.path}",
                    found=f"{other} and {package.version}",
                    next=next,
                )
            )
        packages[package.name] = package
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise SlipwayErrors(
            f'"{file}" has {len(faults)} invalid packages',
            [error.render() for error in faults],
            next=next,
        )
    return tuple(packages[name] for name in sorted(packages))


def _package(item: Field) -> LockedPackage:
    fields = item.record(["name", "version", "architecture", "filename", "size", "sha256"])
    return LockedPackage(
        name=fields["name"].text(NAME, "a package name"),
        version=fields["version"].text(_VERSION, "a Debian version"),
        architecture=fields["architecture"].text(r"[a-z0-9]+", "an architecture"),
        filename=fields["filename"].text(_POOL_FILE, "a file below pool/, without .. in its name"),
        size=fields["size"].number(1, _LARGEST_PACKAGE),
        sha256=fields["sha256"].text(_SHA256, "64 hexadecimal digits"),
    )


def write_lock(lock: DebianLock) -> str:
    def line(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)

    lines = ["{", f' "format": {FORMAT},']
    lines += [f' "{key}": {line(getattr(lock, key))},' for key in _HEAD]
    for key in ("wanted", "cut"):
        lines += _list(key, [line(name) for name in sorted(getattr(lock, key))], ",")
    packages = sorted(lock.packages, key=lambda package: package.name)
    lines += _list("packages", [line(asdict(package)) for package in packages], "")
    return "\n".join([*lines, "}", ""])


def _list(key: str, items: List[str], end: str) -> List[str]:
    if not items:
        return [f' "{key}": []{end}']
    return [f' "{key}": [', *(f"  {item}," for item in items[:-1]), f"  {items[-1]}", f" ]{end}"]
