"""Whether npm installs a package on the system of a release, by `os`, `cpu` and `libc`."""

from __future__ import annotations

from typing import Sequence

from slipway.npm.lockfiles.package import Package

OS, CPU, LIBC = "linux", "x64", "glibc"


def fits(package: Package) -> bool:
    return all(
        _allows(listed, value)
        for listed, value in ((package.os, OS), (package.cpu, CPU), (package.libc, LIBC))
    )


def _allows(listed: Sequence[str], value: str) -> bool:
    """npm's rule: no `!value`, and `value` unless all entries are negated; `any` alone allows all."""
    if not listed or tuple(listed) == ("any",):
        return True
    if f"!{value}" in listed:
        return False
    return value in listed or all(entry.startswith("!") for entry in listed)
