"""Holds the ELF files of a release against the oldest hosts that its toolchain promises.

All breaches are found at once: each with its file, the npm package that brought it, and the symbol
and version that the host lacks.  Files that packages carry for other systems (musl, Android, other
processors) are told apart, not judged.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import (
    Collection,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

from slipway.abi.policy import AbiPolicy
from slipway.elf import reader
from slipway.elf.facts import INSIDE, ElfFacts
from slipway.elf.symbol_versions import split_version

FITS, BREACH, FOREIGN, NO_PROGRAM = "fits", "breach", "foreign", "not loaded"
_MOST_NAMED = 5
_ORIGIN = ("$ORIGIN", "${ORIGIN}")


@dataclass(frozen=True)
class Breach:
    """Why one file does not load, or not safely, on the oldest host.

    `symbol`, `version` and `ceiling` are empty where the reason is none of versions.
    """

    path: str
    package: str
    reason: str
    symbol: str = ""
    version: str = ""
    ceiling: str = ""

    def __str__(self) -> str:
        return f"{self.path}{f' ({self.package})' if self.package else ''}: {self.reason}"


@dataclass(frozen=True)
class AuditedFile:
    """One line of the table; `highest` maps a namespace to the newest version that is needed."""

    path: str
    package: str
    verdict: str
    about: str = ""
    highest: Mapping[str, str] = field(default_factory=dict)
    needed: Tuple[str, ...] = ()
    breaches: Tuple[Breach, ...] = ()
    sha256: str = ""
    compilers: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """What the files of a release meet when they are loaded.

    `names` are those that the oldest host's libraries and the release's own files offer to whoever
    asks for no version; `carried` are the paths of the release's own files.
    """

    policy: AbiPolicy
    names: Collection[str]
    carried: Collection[str]


def audit(
    files: Sequence[ElfFacts],
    packages: Mapping[str, str],
    policy: AbiPolicy,
    provided: Iterable[str],
) -> List[AuditedFile]:
    """Every ELF file of a release. `packages` maps npm's paths to name@version."""
    names = set(provided).union(*(one.exported for one in files))
    around = Surroundings(policy, names, {one.path for one in files})
    return [_audited(one, package_of(one.path, packages), around) for one in files]


def package_of(path: str, packages: Mapping[str, str]) -> str:
    """The npm package that brought the file, as name@version; empty for the release's own."""
    folder = path.split(INSIDE, maxsplit=1)[0]
    while folder:
        if folder in packages:
            return packages[folder]
        folder = posixpath.dirname(folder)
    return ""


def _audited(one: ElfFacts, package: str, around: Surroundings) -> AuditedFile:
    if one.fault:
        broken = Breach(one.path, package, f"cannot be read as ELF: {one.fault}")
        return AuditedFile(one.path, package, BREACH, about="damaged", breaches=(broken,))
    if one.foreign_system:
        return AuditedFile(one.path, package, FOREIGN, about=one.foreign_system)
    if one.kind not in (reader.PROGRAM, reader.LIBRARY):
        return AuditedFile(one.path, package, NO_PROGRAM, about=one.kind)
    breaches = tuple(Breach(one.path, package, *reason) for reason in _reasons(one, around))
    return AuditedFile(
        path=one.path,
        package=package,
        verdict=BREACH if breaches else FITS,
        highest=_highest(one),
        needed=one.needed,
        breaches=breaches,
        sha256=one.sha256,
        compilers=one.compilers,
    )


def _highest(one: ElfFacts) -> Dict[str, str]:
    found: Dict[str, Tuple[Tuple[int, ...], str]] = {}
    for _, version, _, _ in one.needed_versions:
        namespace, numbers = split_version(version)
        if numbers is not None:
            found[namespace] = max(found.get(namespace, ((), "")), (numbers, version))
    return {namespace: version for namespace, (_, version) in sorted(found.items())}


_Reason = Tuple[str, str, str, str]


def _reasons(one: ElfFacts, around: Surroundings) -> Iterator[_Reason]:
    policy = around.policy
    for library, version, symbol, count in one.needed_versions:
        if library in policy.libraries and not policy.allows(version):
            ceiling = policy.ceiling_of(version)
            more = f" and {count - 1} more" if count > 1 else ""
            limit = f"; the newest there is {ceiling}" if ceiling else ""
            yield (
                f"needs {symbol or library}{more} of version {version}{limit}",
                *(symbol, version, ceiling),
            )
    lacking = [name for name in one.unversioned if name not in around.names]
    if lacking:
        shown = ", ".join(lacking[:_MOST_NAMED])
        others = len(lacking) - _MOST_NAMED
        names = f"{shown} and {others} more" if others > 0 else shown
        yield f"needs {names}, which no library of the oldest host has", lacking[0], "", ""
    yield from (
        (reason, "", "", "")
        for reason in (*_library_reasons(one, around), *_other_reasons(one, policy))
    )


def _library_reasons(one: ElfFacts, around: Surroundings) -> Iterator[str]:
    folder = posixpath.dirname(one.path)
    places = []
    for run_path in one.run_paths:
        for part in run_path.split(":"):
            place = _inside_release(part, folder)
            if place is None:
                yield f"looks for libraries in {part or 'the working directory'}"
            else:
                places.append(place)
    for library in one.needed:
        if library in around.policy.libraries:
            continue
        if any(posixpath.join(place, library) in around.carried for place in places):
            continue
        carried = sorted(path for path in around.carried if posixpath.basename(path) == library)
        if carried:
            yield f"needs {library}, which is at {carried[0]}, but no run path leads there"
        else:
            yield f"needs {library}, which the oldest host need not have"
    names = {posixpath.basename(path) for path in around.carried} | around.policy.libraries
    for library in one.opened:
        if library not in names:
            yield f"may open {library} when it runs, which the oldest host need not have"


def _inside_release(part: str, folder: str) -> Optional[str]:
    """The folder of the release that an entry of a run path names; None if it leads out."""
    for origin in _ORIGIN:
        if part == origin or part.startswith(origin + "/"):
            place = posixpath.normpath(posixpath.join(folder, part[len(origin) :].lstrip("/")))
            return None if place == ".." or place.startswith("../") else place
    return None


def _other_reasons(one: ElfFacts, policy: AbiPolicy) -> Iterator[str]:
    if one.executable_stack:
        yield "asks for an executable stack"
    if one.text_relocations:
        yield "changes its code when it is loaded (text relocations)"
    if one.interpreter and one.interpreter != policy.interpreter:
        yield f"is started by {one.interpreter}, not by {policy.interpreter}"
