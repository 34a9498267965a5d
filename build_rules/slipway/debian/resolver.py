"""Resolves the wanted packages of an image to all packages that it needs.

As in apt, an alternative that is already chosen satisfies a dependency; otherwise, the first
alternative in the suite is chosen. A spec can cut a dependency, so that the package is never chosen
as a dependency. Recommended packages are not installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from slipway.core.errors import SlipwayError, SlipwayErrors, nearest, suggesting
from slipway.debian.control import TRY_ANOTHER, Relation, Stanza, parse_relations
from slipway.debian.lock import LockedPackage
from slipway.debian.version import satisfies, version_key


@dataclass(frozen=True)
class WantedPackages:
    """The packages that the spec `file` requests; `wanted` and `cut` map names to reasons."""

    file: str
    suite: str
    component: str
    wanted: Mapping[str, str]
    cut: Mapping[str, str]


def resolve(
    spec: WantedPackages, stanzas: Iterable[Stanza], below: Sequence[LockedPackage] = ()
) -> Tuple[LockedPackage, ...]:
    """The packages of the image, sorted by name; raises SlipwayError if they cannot be resolved.

    `stanzas` is the package index; each stanza has a name and a version. `below` are packages of the
    images below, which this image has already.
    """
    suite = _Suite(stanzas)
    chosen = _Chosen()
    for package in below:
        chosen.add_below(suite.same(package, spec))
    for name in sorted(spec.wanted):
        chosen.add(suite.wanted(name, spec))
    for stanza in chosen.stanzas:  # grows meanwhile
        for clause in _dependencies(stanza):
            if not chosen.satisfy(clause) and not any(r.name in spec.cut for r in clause):
                chosen.add(suite.best(clause, stanza["Package"], spec))
    unused = set(spec.cut) - {
        relation.name
        for stanza in chosen.stanzas
        for clause in _dependencies(stanza)
        for relation in clause
    }
    if unused:
        raise SlipwayErrors(
            f'"{spec.file}" cuts packages that no package of the image depends on',
            sorted(unused),
            where=f"{spec.file}: $.cut",
            next="remove these lines",
        )
    return tuple(sorted((_locked(stanza) for stanza in chosen.stanzas), key=lambda p: p.name))


def _dependencies(stanza: Stanza) -> List[Tuple[Relation, ...]]:
    return [
        clause
        for field in ("Pre-Depends", "Depends")
        for clause in parse_relations(stanza.get(field, ""), f"{stanza['Package']}: {field}")
    ]


def _provisions(stanza: Stanza) -> List[Tuple[str, str]]:
    """Names that the package provides, each with its version ("" for none)."""
    provided = parse_relations(stanza.get("Provides", ""), f"{stanza['Package']}: Provides")
    return [
        (stanza["Package"], stanza["Version"]),
        *((relation.name, relation.version) for clause in provided for relation in clause),
    ]


def _satisfies(version: str, relation: Relation) -> bool:
    if not relation.operator:
        return True
    # Debian Policy 7.5: a Provides without version does not satisfy a versioned dependency.
    with suggesting(TRY_ANOTHER):
        return bool(version) and satisfies(version, relation.operator, relation.version)


class _Chosen:
    def __init__(self) -> None:
        self.stanzas: List[Stanza] = []
        self._names: Set[str] = set()
        self._provisions: Dict[str, List[str]] = {}

    def add(self, stanza: Stanza) -> None:
        if stanza["Package"] in self._names:
            return
        self._names.add(stanza["Package"])
        self.stanzas.append(stanza)
        for name, version in _provisions(stanza):
            self._provisions.setdefault(name, []).append(version)

    def add_below(self, stanza: Stanza) -> None:
        """Adds a package of an image below, which has the package's dependencies already."""
        self.add(stanza)
        self.stanzas.remove(stanza)

    def satisfy(self, clause: Tuple[Relation, ...]) -> bool:
        return any(
            _satisfies(version, relation)
            for relation in clause
            for version in self._provisions.get(relation.name, [])
        )


class _Suite:
    def __init__(self, stanzas: Iterable[Stanza]) -> None:
        self._real: Dict[str, Stanza] = {}
        self._providers: Dict[str, List[Tuple[str, str]]] = {}
        for stanza in stanzas:
            name = stanza["Package"]
            known = self._real.get(name)
            if not known or version_key(known["Version"]) < version_key(stanza["Version"]):
                self._real[name] = stanza
        for name, stanza in self._real.items():
            for virtual, version in _provisions(stanza)[1:]:
                self._providers.setdefault(virtual, []).append((name, version))

    def wanted(self, name: str, spec: WantedPackages) -> Stanza:
        if name in self._real:
            return self._real[name]
        raise SlipwayError(
            f'the wanted package "{name}" is not in {spec.suite} {spec.component}',
            where=f"{spec.file}: $.wanted.{name}",
            next=f"correct the name; similar names: {', '.join(nearest(name, self._real)) or 'none'}",
        )

    def same(self, package: LockedPackage, spec: WantedPackages) -> Stanza:
        stanza = self._real.get(package.name, {})
        if stanza.get("Version") != package.version:
            raise SlipwayError(
                f'the image below "{spec.file}" has another version of "{package.name}" than the mirror',
                where=spec.file,
                found=f"{package.version}; the mirror has {stanza.get('Version', 'none')}",
                next="update the lock of the image below first",
            )
        return stanza

    def best(self, clause: Tuple[Relation, ...], dependent: str, spec: WantedPackages) -> Stanza:
        for relation in clause:
            stanza = self._resolve_relation(relation, dependent, spec)
            if stanza:
                return stanza
        needed = " | ".join(map(str, clause))
        available = [self._real[r.name] for r in clause if r.name in self._real]
        versions = ", ".join(f"{stanza['Package']} {stanza['Version']}" for stanza in available)
        raise SlipwayError(
            f'"{dependent}" needs "{needed}", which {spec.suite} {spec.component} does not have',
            where=spec.file,
            found=versions or "no such package",
            next=f'if the image does not need it, add "{clause[0].name}" to "cut"',
        )

    def _resolve_relation(
        self, relation: Relation, dependent: str, spec: WantedPackages
    ) -> Optional[Stanza]:
        real = self._real.get(relation.name)
        if real and _satisfies(real["Version"], relation):
            return real
        providers = sorted(
            {
                name
                for name, version in self._providers.get(relation.name, [])
                if _satisfies(version, relation) and name not in spec.cut
            }
        )
        if len(providers) > 1:
            raise SlipwayError(
                f'"{dependent}" needs "{relation}", which several packages provide',
                where=spec.file,
                found=", ".join(providers),
                next='add one of them to "wanted"',
            )
        return self._real[providers[0]] if providers else None


def _locked(stanza: Stanza) -> LockedPackage:
    missing = [name for name in ("Architecture", "Filename", "SHA256") if name not in stanza]
    if not re.fullmatch(r"[0-9]{1,12}", stanza.get("Size", "")):
        missing.append("Size")
    if missing:
        raise SlipwayError(
            f'the package index is incomplete for "{stanza["Package"]}"',
            found=f"no usable {', '.join(missing)}",
            next=TRY_ANOTHER,
        )
    return LockedPackage(
        name=stanza["Package"],
        version=stanza["Version"],
        architecture=stanza["Architecture"],
        filename=stanza["Filename"],
        size=int(stanza["Size"]),
        sha256=stanza["SHA256"],
    )
