"""What becomes of each package's install script: decided by name and version, never by default.

npm runs whatever a package brings.  Here every package with an install script needs a decision; for
a few, whose scripts do nothing that a release needs, it is made in a table.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from slipway.core.errors import SlipwayErrors, nearest
from slipway.npm.install_report import ScriptedPackage
from slipway.npm.lockfiles import semver
from slipway.npm.lockfiles import spec as npm_spec
from slipway.npm.lockfiles.package import Package


class Decision(enum.Enum):
    """`source` compiles, `prebuilt` takes a pinned binary, `run` runs the script as it is, and
    `skip` does not run it."""

    SOURCE = "source"
    PREBUILT = "prebuilt"
    RUN = "run"
    SKIP = "skip"


CHOICES = tuple(one.value for one in Decision)
_ADVERTISES = "prints a request for donations"
# Packages as the npm registry has them; each was read.
_NEEDLESS = {
    "core-js": _ADVERTISES,
    "core-js-bundle": _ADVERTISES,
    "core-js-pure": _ADVERTISES,
    "ejs": _ADVERTISES,
    "es5-ext": "prints a message to some of its users",
    "fsevents": "does nothing but on macOS",
    "nodemon": _ADVERTISES,
    "protobufjs": "warns of an unusual version range in package.json",
    "styled-components": _ADVERTISES,
    "uglifyjs-webpack-plugin": "warns of an old Node.js",
    "vue-demi": "looks for the version of vue, and writes what it comes with where there is none",
}


@dataclass(frozen=True)
class Rule:
    """One entry of the field; `range` is an npm range, empty for every version."""

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
    """The entries of the field `install_scripts`, by `name` or `name@range`; all faults at once."""
    rules: List[Rule] = []
    faults: List[str] = []
    for key, value in sorted(field.items()):
        at = key.find("@", 1)
        name, spec = (key, "") if at < 0 else (key[:at], key[at + 1 :])
        if not npm_spec.is_valid_name(name):
            faults.append(f'"{key}": "{name}" is no name that npm allows')
        elif at >= 0 and semver.satisfies("1.0.0", spec) is None:
            faults.append(f'"{key}": "{spec}" is no range of versions')
        elif value not in CHOICES:
            near = nearest(value, CHOICES, 1)
            faults.append(f'"{key}": "{value}"' + (f"; did you mean {near[0]}?" if near else ""))
        else:
            rules.append(Rule(name, spec, Decision(value)))
    if faults:
        raise SlipwayErrors(
            "install scripts are decided on in ways that are not known",
            faults,
            where=where,
            next=f'"<name>" or "<name>@<range>": one of {", ".join(CHOICES)}',
        )
    return tuple(rules)


def check(rules: Sequence[Rule], packages: Iterable[Package], where: str) -> None:
    """Refuses entries that no package of the lock fits, and packages that two ranges fit."""
    known = [one for one in packages if one.in_node_modules]
    names = {one.name for one in known}
    faults: List[str] = []
    for rule in rules:
        if not any(rule.fits(one) for one in known):
            there = sorted({str(one.version) for one in known if one.name == rule.name})
            near = nearest(rule.name, names)
            if there:
                faults.append(f'"{rule.key}": the lock has {", ".join(there)}')
            else:
                guess = f"; did you mean {', '.join(near)}?" if near else ""
                faults.append(f'"{rule.key}"{guess}')
    for label, fitting in sorted(_by_range(rules, known).items()):
        if len(fitting) > 1:
            faults.append(f"{label} fits " + " and ".join(f'"{one}"' for one in fitting))
    if faults:
        raise SlipwayErrors(
            "packages that the lock does not have cannot run an install script"
            if len(faults) == 1 and " fits " not in faults[0]
            else "entries do not fit the packages of the lock",
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
    """An entry with a range stands above one without, and both above the table."""
    fitting = sorted((rule for rule in rules if rule.fits(package)), key=lambda one: not one.range)
    if fitting:
        return fitting[0].decision
    return Decision.SKIP if package.name in _NEEDLESS else None


def require_decisions(undecided: Sequence[ScriptedPackage], where: str) -> None:
    """`undecided` are packages that were installed."""
    if not undecided:
        return
    names = sorted({package.name for package in undecided})
    entries = "".join(f'\n    "{name}": "{_likely(name, undecided)}",' for name in names)
    raise SlipwayErrors(
        "packages have install scripts that nobody has decided on",
        [
            package.label
            + ("" if package.production else " (dev)")
            + "".join(f', {event}: "{script}"' for event, script in sorted(package.scripts.items()))
            for package in undecided
        ],
        where=where,
        next=f"install_scripts={{{entries}\n}}\n"
        "source compiles it, prebuilt takes a binary that is pinned by hash, run runs the script\n"
        "as it is, without a network, and skip does not",
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
