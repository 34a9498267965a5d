"""How to handle each package's install script, by package name and version range.

npm runs every install script. Slipway requires a decision for each package with an install script; a
table in this module has the decision for a few packages whose scripts a release does not need.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from slipway.core import semver
from slipway.core.errors import SlipwayErrors, nearest
from slipway.npm.install_report import InstalledPackage, ScriptedPackage
from slipway.npm.lockfiles import spec as npm_spec
from slipway.npm.lockfiles.package import Package


class Decision(enum.Enum):
    """How to handle an install script; the help text of `install_scripts` explains the values."""

    SOURCE = "source"
    PREBUILT = "prebuilt"
    RUN = "run"
    SKIP = "skip"


CHOICES = tuple(decision.value for decision in Decision)
_ADVERTISES = "prints a request for donations"
# These install scripts were read: none changes what a release needs.
_NEEDLESS = {
    "core-js": _ADVERTISES,
    "core-js-bundle": _ADVERTISES,
    "core-js-pure": _ADVERTISES,
    "ejs": _ADVERTISES,
    "es5-ext": "prints a message to some of its users",
    "fsevents": "works only on macOS",
    "nodemon": _ADVERTISES,
    "protobufjs": "warns about an unusual version range in package.json",
    "styled-components": _ADVERTISES,
    "uglifyjs-webpack-plugin": "warns about an old Node.js",
    "vue-demi": "looks for the version of vue; without vue it writes the files that it already has",
}


@dataclass(frozen=True)
class Rule:
    """One entry of the field; `range` is an npm version range, empty for all versions."""

    name: str
    range: str
    decision: Decision

    def fits(self, package: Package) -> bool:
        if self.name != package.name:
            return False
        return not self.range or bool(semver.satisfies(package.version or "", self.range))

    @property
    def key(self) -> str:
        return f"{self.name}@{self.range}" if self.range else self.name


def parse(field: Mapping[str, str], where: str) -> Tuple[Rule, ...]:
    """The entries of the field `install_scripts`.

    The keys are `name` or `name@range`. Raises SlipwayErrors with all invalid entries.
    """
    rules: List[Rule] = []
    faults: List[str] = []
    for key, value in sorted(field.items()):
        at = key.find("@", 1)
        name, spec = (key, "") if at < 0 else (key[:at], key[at + 1 :])
        if not npm_spec.is_valid_name(name):
            faults.append(f'"{key}": "{name}" is not a valid npm package name')
        elif at >= 0 and semver.satisfies("1.0.0", spec) is None:
            faults.append(f'"{key}": "{spec}" is not a version range')
        elif value not in CHOICES:
            near = nearest(value, CHOICES, 1)
            faults.append(f'"{key}": "{value}"' + (f"; did you mean {near[0]}?" if near else ""))
        else:
            rules.append(Rule(name, spec, Decision(value)))
    if faults:
        raise SlipwayErrors(
            "the field install_scripts has invalid entries",
            faults,
            where=where,
            next=f'use "<name>" or "<name>@<range>" as key, and one of {", ".join(CHOICES)} as value',
        )
    return tuple(rules)


def check(rules: Sequence[Rule], packages: Iterable[Package], where: str) -> None:
    """Raises SlipwayErrors for entries without a package in the lockfile, and for ambiguous ones."""
    known = [package for package in packages if package.in_node_modules]
    names = {package.name for package in known}
    faults: List[str] = []
    for rule in rules:
        if not any(rule.fits(package) for package in known):
            there = sorted({str(package.version) for package in known if package.name == rule.name})
            near = nearest(rule.name, names)
            if there:
                faults.append(f'"{rule.key}": the lockfile has {", ".join(there)}')
            else:
                guess = f"; did you mean {', '.join(near)}?" if near else ""
                faults.append(f'"{rule.key}"{guess}')
    for label, fitting in sorted(_by_range(rules, known).items()):
        if len(fitting) > 1:
            faults.append(f"{label} matches " + " and ".join(f'"{key}"' for key in fitting))
    if faults:
        raise SlipwayErrors(
            "the field install_scripts has entries that do not match the packages of the lockfile",
            faults,
            where=where,
            next="correct the names and ranges, or remove them",
        )


def _by_range(rules: Sequence[Rule], packages: Iterable[Package]) -> Dict[str, List[str]]:
    return {
        f"{package.name}@{package.version}": [
            rule.key for rule in rules if rule.range and rule.fits(package)
        ]
        for package in packages
    }


def decide(rules: Sequence[Rule], package: Package) -> Optional[Decision]:
    """The decision for a package: an entry with a range wins over one without, both over the table."""
    fitting = sorted(
        (rule for rule in rules if rule.fits(package)), key=lambda rule: not rule.range
    )
    if fitting:
        return fitting[0].decision
    return Decision.SKIP if package.name in _NEEDLESS else None


def contradictions(
    rules: Sequence[Rule], packages: Iterable[Package], manifest: Mapping[str, Any]
) -> List[str]:
    """Packages for which `allowScripts` of package.json, which npm 12 reads, says the opposite."""
    policy = manifest.get("allowScripts")
    if not isinstance(policy, Mapping):
        return []
    found: Set[str] = set()
    for package in packages:
        allowed = _is_allowed(policy, package) if package.in_node_modules else None
        decision = decide(rules, package)
        # The table of this module does not come from the user.
        is_explicit = any(rule.fits(package) for rule in rules)
        if decision and is_explicit and allowed is (decision is Decision.SKIP):
            found.add(
                f'{package.name}@{package.version}: install_scripts has "{decision.value}", '
                f"allowScripts in package.json has {str(allowed).lower()}"
            )
    return sorted(found)


def _is_allowed(policy: Mapping[str, Any], package: Package) -> Optional[bool]:
    """Whether `allowScripts` allows the scripts of a package; None without an entry. `false` wins."""
    values = []
    for key, value in policy.items():
        name, _, versions = key[1:].partition("@")
        fits = not versions or bool(semver.satisfies(package.version, versions))
        if key[:1] + name == package.name and fits and isinstance(value, bool):
            values.append(value)
    return all(values) if values else None


def require_decisions(undecided: Sequence[ScriptedPackage], where: str) -> None:
    """`undecided` are packages that were installed."""
    if not undecided:
        return
    names = sorted({package.name for package in undecided})
    entries = "".join(f'\n    "{name}": "{_likely(name, undecided)}",' for name in names)
    raise SlipwayErrors(
        "packages with install scripts have no entry in install_scripts",
        [
            package.label
            + ("" if package.production else " (dev)")
            + "".join(f', {event}: "{script}"' for event, script in sorted(package.scripts.items()))
            for package in undecided
        ],
        where=where,
        next=f"install_scripts={{{entries}\n}}\n"
        "source compiles the package, prebuilt takes a binary that is pinned by hash, run runs the\n"
        "script unchanged and without network access, skip does not run the script",
    )


def _likely(name: str, undecided: Sequence[ScriptedPackage]) -> str:
    scripts = " ".join(
        script
        for package in undecided
        if package.name == name
        for script in package.scripts.values()
    )
    compiles = any(tool in scripts for tool in ("gyp", "prebuild", "prebuilt", "cmake"))
    return (Decision.SOURCE if compiles else Decision.SKIP).value


def names_to_compile(
    scripted: Iterable[ScriptedPackage], released: Iterable[InstalledPackage]
) -> Set[str]:
    """The packages with an install script that no decision compiles from source already."""
    compiled = {one.name for one in released if one.decision == Decision.SOURCE.value}
    return {one.name for one in scripted} - compiled
