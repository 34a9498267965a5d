"""Binaries that may break the ABI policy, each with a reason that the release tells."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from slipway.core.errors import SlipwayErrors
from slipway.elf.facts import INSIDE
from slipway.elf.symbol_versions import split_version


@dataclass(frozen=True)
class Verdict:
    """What of an audit stays in a release.json: newest versions needed, and what was waived."""

    highest: Tuple[Tuple[str, str], ...]
    waived: Tuple[Mapping[str, Any], ...]

    def as_dict(self) -> Dict[str, Any]:
        return {"highest": dict(self.highest), "waived": list(self.waived)}


def judge(
    files: Sequence[Mapping[str, Any]],
    waivers: Mapping[str, str],
    where: str,
    scripted: Optional[Collection[str]] = None,
    *,
    of: str = "the release",
) -> Verdict:
    """Raises for breaches that nothing waives and for waivers that waive nothing.

    `files` are AuditedFile as dictionaries; `waivers` maps a path, with `*`, or name@version to the
    reason; `where` names the target, `scripted` the packages that an install script could compile.
    """
    _check_reasons(waivers, where)
    used: Set[str] = set()
    left: List[Mapping[str, Any]] = []
    waived: List[Mapping[str, Any]] = []
    for one in files:
        if not one["breaches"]:
            continue
        found = [key for key in waivers if _covers(key, one)]
        if not found:
            left.extend(one["breaches"])
            continue
        used.update(found)
        waived.append(
            {
                "file": one["path"],
                "package": one["package"],
                "breaches": [breach["reason"] for breach in one["breaches"]],
                "reason": waivers[found[0]],
            }
        )
    if left:
        raise SlipwayErrors(
            f"binaries of {of} do not load on the oldest hosts of its toolchain",
            [describe(breach) for breach in left],
            where=where,
            next=ways_out(left, scripted),
        )
    unused = sorted(set(waivers) - used)
    if unused:
        raise SlipwayErrors(
            "waivers that waive nothing hide what comes later",
            [f'"{key}"' for key in unused],
            where=f"{where}, field abi_waivers",
            next="remove them, or correct the names",
        )
    return Verdict(_highest(files), tuple(waived))


def ways_out(
    breaches: Sequence[Mapping[str, Any]], scripted: Optional[Collection[str]] = None
) -> str:
    """The three of them, for the first of the breaches; where it is not known which packages have
    an install script, any may."""
    first = breaches[0]
    package, waiver = first["package"], first["package"] or first["path"].split(INSIDE)[0]
    name = package.rpartition("@")[0]
    if not package or (scripted is not None and name not in scripted):
        return f"take another version of it\nor waive it, with the reason: {_field(waiver)}"
    return (
        f'compile it from source, by the field of the bundle: install_scripts={{"{name}": "source"}}\n'
        f"or take another version of it\nor waive it, with the reason: {_field(waiver)}"
    )


def _field(waiver: str) -> str:
    return f'abi_waivers={{"{waiver}": "why no old host meets it"}}'


def describe(breach: Mapping[str, Any]) -> str:
    package = f" ({breach['package']})" if breach["package"] else ""
    return f"{breach['path']}{package}: {breach['reason']}"


def _check_reasons(waivers: Mapping[str, str], where: str) -> None:
    empty = [f'"{key}"' for key, reason in waivers.items() if not reason.strip()]
    if empty:
        raise SlipwayErrors(
            "waivers must say why",
            empty,
            where=f"{where}, field abi_waivers",
            next="write the reason, which the release.json repeats",
        )


def _covers(key: str, one: Mapping[str, Any]) -> bool:
    places = (one["path"], one["path"].split(INSIDE)[0])
    return key == one["package"] or any(fnmatch.fnmatchcase(place, key) for place in places)


def _highest(files: Sequence[Mapping[str, Any]]) -> Tuple[Tuple[str, str], ...]:
    found: Dict[str, str] = {}
    for one in files:
        for namespace, version in one["highest"].items():
            known = found.get(namespace, version)
            found[namespace] = max(known, version, key=lambda name: split_version(name)[1] or ())
    return tuple(sorted(found.items()))
