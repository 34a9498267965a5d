"""Waivers: binaries that may break the ABI policy, each with a reason for release.json."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Collection, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from slipway.abi.audit import AuditedFile, Breach
from slipway.core.errors import SlipwayErrors
from slipway.elf.facts import INSIDE
from slipway.elf.symbol_versions import split_version


@dataclass(frozen=True)
class WaivedFile:
    """A file that breaks the policy, and the reason why it may."""

    file: str
    package: str
    breaches: Tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The result of an audit for release.json: newest needed versions, and waived breaches."""

    highest: Tuple[Tuple[str, str], ...]
    waived: Tuple[WaivedFile, ...]


def judge(
    files: Sequence[AuditedFile],
    waivers: Mapping[str, str],
    where: str,
    scripted: Optional[Collection[str]] = None,
    *,
    of: str = "the release",
    other_nodes: str = "",
) -> Verdict:
    """Raises SlipwayErrors for breaches without waiver, and for waivers without breach.

    `waivers` maps a path, which may contain `*`, or name@version to a reason. `where` names the
    target. `scripted` are the packages that an install script can compile. `other_nodes` says which
    Node or toolchain to use if Node itself has a breach.
    """
    _check_reasons(waivers, where)
    used: Set[str] = set()
    left: List[Breach] = []
    waived: List[WaivedFile] = []
    for file in files:
        if not file.breaches:
            continue
        keys = [key for key in waivers if _covers(key, file)]
        if not keys:
            left.extend(file.breaches)
            continue
        used.update(keys)
        reasons = tuple(breach.reason for breach in file.breaches)
        waived.append(WaivedFile(file.path, file.package, reasons, waivers[keys[0]]))
    if left:
        raise SlipwayErrors(
            f"binaries of {of} do not load on the oldest host of its toolchain",
            [str(breach) for breach in left],
            where=where,
            next=ways_out(left, scripted, other_nodes),
        )
    unused = sorted(set(waivers) - used)
    if unused:
        raise SlipwayErrors(
            "waivers match no binary with a breach",
            [f'"{key}"' for key in unused],
            where=f"{where}, field abi_waivers",
            next="remove them, or correct the names",
        )
    return Verdict(_highest(files), tuple(waived))


_NODE = "node_runtime/"  # the folder of Node in a release
_OTHER_NODES = "./pants node-definitions, which lists the Node versions for each toolchain"


def is_of_node(file: AuditedFile) -> bool:
    """Whether a binary belongs to the Node of a release."""
    return file.path.startswith(_NODE)


def ways_out(
    breaches: Sequence[Breach],
    scripted: Optional[Collection[str]] = None,
    other_nodes: str = _OTHER_NODES,
) -> str:
    """What the user can do about the first breach.

    Without `scripted`, any package may have an install script that compiles it.
    """
    first = breaches[0]
    package, waiver = first.package, first.package or first.path.split(INSIDE)[0]
    name = package.rpartition("@")[0]
    if first.path.startswith(_NODE):
        return ways_out_for_node(other_nodes, waiver)
    if not package or (scripted is not None and name not in scripted):
        return f"use another version of it\nor waive it, with a reason: {_field(waiver)}"
    return (
        f'compile it from source, in the bundle: install_scripts={{"{name}": "source"}}\n'
        f"or use another version of it\nor waive it, with a reason: {_field(waiver)}"
    )


def ways_out_for_node(other_nodes: str, waiver: str = f"{_NODE}bin/node") -> str:
    """What the user can do about a Node that does not load on the oldest hosts."""
    return f"{other_nodes or _OTHER_NODES}\nor waive it, with a reason: {_field(waiver)}"


def _field(waiver: str) -> str:
    return f'abi_waivers={{"{waiver}": "why no old host loads it"}}'


def _check_reasons(waivers: Mapping[str, str], where: str) -> None:
    empty = [f'"{key}"' for key, reason in waivers.items() if not reason.strip()]
    if empty:
        raise SlipwayErrors(
            "waivers have no reason",
            empty,
            where=f"{where}, field abi_waivers",
            next="write a reason, which goes into release.json",
        )


def _covers(key: str, file: AuditedFile) -> bool:
    paths = (file.path, file.path.split(INSIDE)[0])
    return key == file.package or any(fnmatch.fnmatchcase(path, key) for path in paths)


def _highest(files: Sequence[AuditedFile]) -> Tuple[Tuple[str, str], ...]:
    newest: Dict[str, str] = {}
    for file in files:
        for namespace, version in file.highest.items():
            known = newest.get(namespace, version)
            newest[namespace] = max(known, version, key=lambda name: split_version(name)[1] or ())
    return tuple(sorted(newest.items()))
