"""ABI policies: on which old hosts the binaries of a toolchain must load.

A policy is a TOML file beside the image spec of the toolchain. Like the policies of auditwheel, it
has the newest symbol version of each namespace on the oldest host, and the libraries of every host.
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
    """A policy; `ceilings` are pairs of a namespace such as GLIBC and its newest version.

    `versions` are single versions that the oldest host has in addition.
    """

    machine: str
    interpreter: str
    libraries: FrozenSet[str]
    versions: FrozenSet[str]
    ceilings: Tuple[Tuple[str, Tuple[int, ...]], ...]

    def allows(self, version: str) -> bool:
        """Whether the oldest host has a symbol version such as GLIBC_2.17."""
        if version in self.versions:
            return True
        namespace, numbers = split_version(version)
        ceiling = dict(self.ceilings).get(namespace)
        return ceiling is not None and numbers is not None and numbers <= ceiling

    def ceiling_of(self, version: str) -> str:
        """The newest version of the same namespace, for messages; empty if there is no ceiling."""
        namespace, _ = split_version(version)
        ceiling = dict(self.ceilings).get(namespace)
        return f"{namespace}_{'.'.join(map(str, ceiling))}" if ceiling else ""


def read(document: Mapping[str, Any], path: str) -> AbiPolicy:
    """Checks a parsed policy; raises SlipwayErrors with all faults."""
    faults: List[str] = []
    for key in sorted(set(document) - _KEYS):
        guess = nearest(key, _KEYS, 1)
        faults.append(f"{key}: unknown key{f'; did you mean {guess[0]}?' if guess else ''}")
    if document.get("format") != FORMAT:
        faults.append(f"format: is {document.get('format')!r}, not {FORMAT}")
    if document.get("machine") not in _MACHINES:
        known = ", ".join(_MACHINES)
        faults.append(f"machine: {document.get('machine')!r} is not supported; use {known}")
    interpreter = document.get("interpreter")
    if not isinstance(interpreter, str) or not interpreter.startswith("/"):
        faults.append(f"interpreter: {interpreter!r} is not the absolute path of a loader")
    libraries = _names(document, "libraries", "[^/]+", "a library such as libc.so.6", faults)
    versions = _names(
        document, "versions", "[A-Za-z0-9_.]+", "a version such as CXXABI_TM_1", faults
    )
    if not libraries:
        faults.append("libraries: the list is empty; it needs at least libc.so.6")
    ceilings = _ceilings(document.get("ceilings"), faults)
    if faults:
        raise SlipwayErrors(
            f'the ABI policy "{path}" is not valid',
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
    names = document.get(key, [])
    if not isinstance(names, list):
        faults.append(f"{key}: must be a list")
        return []
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(pattern, name):
            faults.append(f"{key}: {name!r} is not the name of {expected}")
    duplicates = sorted({str(name) for name in names if names.count(name) > 1})
    faults.extend(f"{key}: {name} is listed twice" for name in duplicates)
    return [name for name in names if isinstance(name, str)]


def _ceilings(table: Any, faults: List[str]) -> Dict[str, Tuple[int, ...]]:
    if not isinstance(table, dict) or "GLIBC" not in table:
        faults.append('ceilings: needs a table with at least GLIBC, such as GLIBC = "2.17"')
        return {}
    ceilings = {}
    for namespace, version in table.items():
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            faults.append(f'ceilings.{namespace}: {version!r} is not a version such as "2.17"')
        else:
            ceilings[str(namespace)] = tuple(int(part) for part in version.split("."))
    return ceilings
