"""What a toolchain promises of its binaries: on which old hosts they load.

A policy is data, a TOML file beside the toolchain's image.  It names the newest version of each
namespace of symbols that the oldest host has, as auditwheel's policies do, and the libraries that
every host has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, List, Mapping, Tuple

from slipway.core.errors import SlipwayErrors, nearest
from slipway.elf.symbol_versions import split_version

FORMAT = 1

_MACHINES = ("x86-64",)
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*")
_KEYS = {"format", "machine", "interpreter", "libraries", "versions", "ceilings"}


@dataclass(frozen=True)
class AbiPolicy:
    """`ceilings` maps a namespace such as GLIBC to its newest version; `versions` are single
    ones that are there besides."""

    machine: str
    interpreter: str
    libraries: FrozenSet[str]
    versions: FrozenSet[str]
    ceilings: Tuple[Tuple[str, Tuple[int, ...]], ...]

    def allows(self, version: str) -> bool:
        """Whether the oldest host has the symbol version, such as GLIBC_2.17."""
        if version in self.versions:
            return True
        namespace, numbers = split_version(version)
        ceiling = dict(self.ceilings).get(namespace)
        return ceiling is not None and numbers is not None and numbers <= ceiling

    def ceiling_of(self, version: str) -> str:
        """The newest version of that namespace, for messages; empty if it has none."""
        namespace, _ = split_version(version)
        ceiling = dict(self.ceilings).get(namespace)
        return f"{namespace}_{'.'.join(map(str, ceiling))}" if ceiling else ""

    def as_dict(self) -> Dict[str, Any]:
        """What `read` reads, with everything in order: the form that stands in cache keys."""
        return {
            "format": FORMAT,
            "machine": self.machine,
            "interpreter": self.interpreter,
            "libraries": sorted(self.libraries),
            "versions": sorted(self.versions),
            "ceilings": {name: ".".join(map(str, numbers)) for name, numbers in self.ceilings},
        }


def read(document: Mapping[str, Any], path: str) -> AbiPolicy:
    """Checks a parsed policy for sense and gives it as data; all faults are told at once."""
    faults: List[str] = []
    for key in sorted(set(document) - _KEYS):
        guess = nearest(key, _KEYS, 1)
        faults.append(
            f"{key}: there is no such key{f'; did you mean {guess[0]}?' if guess else ''}"
        )
    if document.get("format") != FORMAT:
        faults.append(f"format: is {document.get('format')!r}, not {FORMAT}")
    if document.get("machine") not in _MACHINES:
        known = ", ".join(_MACHINES)
        faults.append(f"machine: {document.get('machine')!r} is none of {known}")
    interpreter = document.get("interpreter")
    if not isinstance(interpreter, str) or not interpreter.startswith("/"):
        faults.append(f"interpreter: {interpreter!r} is no absolute path of a loader")
    libraries = _names(document, "libraries", "[^/]+", "a library such as libc.so.6", faults)
    versions = _names(
        document, "versions", "[A-Za-z0-9_.]+", "a version such as CXXABI_TM_1", faults
    )
    if not libraries:
        faults.append("libraries: hosts without any library run nothing; name libc.so.6 at least")
    ceilings = _ceilings(document.get("ceilings"), faults)
    if faults:
        raise SlipwayErrors(
            f'the ABI policy "{path}" is not usable',
            faults,
            where=path,
            next="correct the policy; docs/reference/abi-policy.md lists its keys",
        )
    return AbiPolicy(
        machine=document["machine"],
        interpreter=document["interpreter"],
        libraries=frozenset(libraries),
        versions=frozenset(versions),
        ceilings=tuple(sorted(ceilings.items())),
    )


def _names(
    document: Mapping[str, Any], key: str, pattern: str, expected: str, faults: List[str]
) -> List[str]:
    found = document.get(key, [])
    if not isinstance(found, list):
        faults.append(f"{key}: must be a list")
        return []
    for name in found:
        if not isinstance(name, str) or not re.fullmatch(pattern, name):
            faults.append(f"{key}: {name!r} is no name of {expected}")
    doubled = sorted({str(name) for name in found if found.count(name) > 1})
    faults.extend(f"{key}: {name} stands there twice" for name in doubled)
    return [name for name in found if isinstance(name, str)]


def _ceilings(table: Any, faults: List[str]) -> Dict[str, Tuple[int, ...]]:
    if not isinstance(table, dict) or "GLIBC" not in table:
        faults.append('ceilings: a table with GLIBC at least is needed, such as GLIBC = "2.17"')
        return {}
    found = {}
    for namespace, version in table.items():
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            faults.append(f'ceilings.{namespace}: {version!r} is no version such as "2.17"')
        else:
            found[str(namespace)] = tuple(int(part) for part in version.split("."))
    return found
