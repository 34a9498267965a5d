"""Checks whether the ELF files of a release load on the oldest host of its ABI policy.

The audit reports all breaches at once: each with its file, the npm package that contains it, and
the symbol and version that the oldest host lacks. Files for other systems (musl, Android, other
processors) are listed, but not checked.
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
    """Why a file does not load, or not safely, on the oldest host.

    `symbol`, `version` and `ceiling` are empty if the reason is not a symbol version.
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
    """A file and its verdict; `highest` maps a namespace to the newest version that it needs."""

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
    """What the files of a release can use when they are loaded.

    `names` are the symbols that references without version can use, from the libraries of the oldest
    host and from files of the release. `carried` are the paths of the files of the release.
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
    """Audits the ELF files of a release; `packages` maps paths of npm packages to name@version.

    `provided` are the symbols of the oldest host for references without version.
    """
    names = set(provided).union(*(file.exported for file in files))
    around = Surroundings(policy, names, {file.path for file in files})
    return [_audit_file(file, package_of(file.path, packages), around) for file in files]


def package_of(path: str, packages: Mapping[str, str]) -> str:
    """The npm package that contains the file, as name@version; empty if none does."""
    folder = path.split(INSIDE, maxsplit=1)[0]
    while folder:
        if folder in packages:
            return packages[folder]
        folder = posixpath.dirname(folder)
    return ""


def _audit_file(file: ElfFacts, package: str, around: Surroundings) -> AuditedFile:
    if file.fault:
        broken = Breach(file.path, package, f"is not a valid ELF file: {file.fault}")
        return AuditedFile(file.path, package, BREACH, about="damaged", breaches=(broken,))
    if file.foreign_system:
        return AuditedFile(file.path, package, FOREIGN, about=file.foreign_system)
    if file.kind not in (reader.PROGRAM, reader.LIBRARY):
        return AuditedFile(file.path, package, NO_PROGRAM, about=file.kind)
    breaches = tuple(Breach(file.path, package, *reason) for reason in _reasons(file, around))
    return AuditedFile(
        path=file.path,
        package=package,
        verdict=BREACH if breaches else FITS,
        highest=_highest(file),
        needed=file.needed,
        breaches=breaches,
        sha256=file.sha256,
        compilers=file.compilers,
    )


def _highest(file: ElfFacts) -> Dict[str, str]:
    newest: Dict[str, Tuple[Tuple[int, ...], str]] = {}
    for _, version, _, _ in file.needed_versions:
        namespace, numbers = split_version(version)
        if numbers is not None:
            newest[namespace] = max(newest.get(namespace, ((), "")), (numbers, version))
    return {namespace: version for namespace, (_, version) in sorted(newest.items())}


_Reason = Tuple[str, str, str, str]


def _reasons(file: ElfFacts, around: Surroundings) -> Iterator[_Reason]:
    policy = around.policy
    for library, version, symbol, count in file.needed_versions:
        if library in policy.libraries and not policy.allows(version):
            ceiling = policy.ceiling_of(version)
            more = f" and {count - 1} more" if count > 1 else ""
            limit = f"; the oldest host has up to {ceiling}" if ceiling else ""
            yield (
                f"needs {symbol or library}{more} of version {version}{limit}",
                *(symbol, version, ceiling),
            )
    lacking = [name for name in file.unversioned if name not in around.names]
    if lacking:
        shown = ", ".join(lacking[:_MOST_NAMED])
        others = len(lacking) - _MOST_NAMED
        names = f"{shown} and {others} more" if others > 0 else shown
        yield f"needs {names}, which no library of the oldest host has", lacking[0], "", ""
    yield from (
        (reason, "", "", "")
        for reason in (*_library_reasons(file, around), *_other_reasons(file, policy))
    )


def _library_reasons(file: ElfFacts, around: Surroundings) -> Iterator[str]:
    folder = posixpath.dirname(file.path)
    parts = [part for run_path in file.run_paths for part in run_path.split(":")]
    inside = [_inside_release(part, folder) for part in parts]
    places = [place for place in inside if place is not None]
    own = [library for library in file.needed if library not in around.policy.libraries]
    lacking = [
        library
        for library in own
        if not any(posixpath.join(place, library) in around.carried for place in places)
    ]
    for part, place in zip(parts, inside):
        # A package can have entries for the layouts of several package managers. Those that lead out of
        # the release do no harm if another entry finds every library.
        is_spare = own and not lacking and part.startswith(_ORIGIN)
        if place is None and not is_spare:
            yield f"searches for libraries in {part or 'the working directory'}"
    for library in lacking:
        carried = sorted(path for path in around.carried if posixpath.basename(path) == library)
        if carried:
            yield f"needs {library}, which is at {carried[0]}, but in no folder of its run path"
        else:
            yield f"needs {library}, which the oldest host may not have"
    names = {posixpath.basename(path) for path in around.carried} | around.policy.libraries
    for library in file.opened:
        if library not in names:
            yield f"may load {library} at run time, which the oldest host may not have"


def _inside_release(part: str, folder: str) -> Optional[str]:
    """The folder of the release that an entry of a run path names; None if it is outside."""
    for origin in _ORIGIN:
        if part == origin or part.startswith(origin + "/"):
            place = posixpath.normpath(posixpath.join(folder, part[len(origin) :].lstrip("/")))
            return None if place == ".." or place.startswith("../") else place
    return None


def _other_reasons(file: ElfFacts, policy: AbiPolicy) -> Iterator[str]:
    if file.executable_stack:
        yield "needs an executable stack"
    if file.text_relocations:
        yield "has text relocations, so the loader must change its code"
    if file.interpreter and file.interpreter != policy.interpreter:
        yield f"uses the loader {file.interpreter}, not {policy.interpreter}"
