"""From the packages that a team wants to all that have to be in the image.

Dependencies are followed as apt does: the first alternative that the suite can serve, unless
something that is there already does.  A spec may cut a dependency off; then nothing brings that
package in.  Recommendations are never followed.
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
    """What the spec `file` wants of a suite; `wanted` and `cut` map a name to its reason."""

    file: str
    suite: str
    component: str
    wanted: Mapping[str, str]
    cut: Mapping[str, str]


def resolve(
    spec: WantedPackages, stanzas: Iterable[Stanza], below: Sequence[LockedPackage] = ()
) -> Tuple[LockedPackage, ...]:
    """The packages of the image, by name; `stanzas` are the archive's list of packages, each with a
    name and a version.

    The packages `below`, of the images that this one stands on, are there already.
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
            f'"{spec.file}" cuts what nothing in the image asks for',
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
    """Names that the package answers to, and the version under that name ("": none)."""
    provided = parse_relations(stanza.get("Provides", ""), f"{stanza['Package']}: Provides")
    return [
        (stanza["Package"], stanza["Version"]),
        *((relation.name, relation.version) for clause in provided for relation in clause),
    ]


def _answers(version: str, relation: Relation) -> bool:
    if not relation.operator:
        return True
    # A virtual package without a version answers no relation that asks for one.
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
        """What is there already: its own dependencies are a matter of the image below."""
        self.add(stanza)
        self.stanzas.remove(stanza)

    def satisfy(self, clause: Tuple[Relation, ...]) -> bool:
        return any(
            _answers(version, relation)
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
            next=f"did you mean one of: {', '.join(nearest(name, self._real))}?",
        )

    def same(self, package: LockedPackage, spec: WantedPackages) -> Stanza:
        stanza = self._real.get(package.name, {})
        if stanza.get("Version") != package.version:
            raise SlipwayError(
                f'the image below "{spec.file}" has another "{package.name}" than the mirror',
                where=spec.file,
                found=f"{package.version} below; the mirror has {stanza.get('Version', 'none')}",
                next="renew the lock of the image below first",
            )
        return stanza

    def best(self, clause: Tuple[Relation, ...], asker: str, spec: WantedPackages) -> Stanza:
        for relation in clause:
            found = self._one(relation, asker, spec)
            if found:
                return found
        asked = " | ".join(map(str, clause))
        has = [self._real[r.name] for r in clause if r.name in self._real]
        raise SlipwayError(
            f'"{asker}" needs "{asked}", which {spec.suite} {spec.component} does not have',
            where=spec.file,
            found=", ".join(f"{s['Package']} {s['Version']}" for s in has) or "no such package",
            next=f'if the image can do without it, add "{clause[0].name}" to "cut"',
        )

    def _one(self, relation: Relation, asker: str, spec: WantedPackages) -> Optional[Stanza]:
        real = self._real.get(relation.name)
        if real and _answers(real["Version"], relation):
            return real
        providers = sorted(
            {
                name
                for name, version in self._providers.get(relation.name, [])
                if _answers(version, relation) and name not in spec.cut
            }
        )
        if len(providers) > 1:
            raise SlipwayError(
                f'"{asker}" needs "{relation}", which several packages provide',
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
            f'the archive\'s list of packages is incomplete for "{stanza["Package"]}"',
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
