"""All attacks under one isolator as one user: which builds they take, and what came out of each.

    cells = Campaign(arena, "chroot").run(ATTACKS)

Attacks share builds, since one that fails does not hide the others: a build tells of all packages
that fail at once.  Afterwards the packages that did not fail make a release, in which nothing may
be that does not belong there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from tests.e2e.attacks.arena import BUILD_TIME_LIMIT, Arena, Member, Package, Run
from tests.e2e.attacks.table import (
    ALL_TOGETHER,
    ALONE,
    ALWAYS,
    BUILD,
    HARM,
    INSTALL,
    MAKE,
    QUIET,
    Attack,
    Evidence,
    bystanders,
    collect,
    late_bystander,
    of_run,
)

_OPTIONS = ("--install-scripts-variables={'attack-asks-with-escapes': ['ESCAPES_MIRROR']}",)
_LIMITS = (
    *("--slipway-step-memory-limit=1GB", "--slipway-step-process-limit=300"),
    *("--slipway-step-space-limit=1GB", "--slipway-step-inode-limit=100000"),
)
_ALONE_LIMIT = 150.0  # seconds, with the start of Pants
_EXHAUST_LIMIT = 240.0
# Without a process namespace, attacks may end steps that run beside them.
_SHARING_PROCESSES = ("chroot", "inside")


@dataclass(frozen=True)
class Cell:
    """What one attack did in one place; `wrong` is empty where the build tool held."""

    attack: str
    place: str
    arena: str
    wrong: Tuple[str, ...]
    notes: Dict[str, object]
    message: str


def write_cells(cells: Iterable[Cell], path: Path) -> None:
    path.write_text(json.dumps([asdict(cell) for cell in cells], indent=1, ensure_ascii=True))


def read_cells(path: Path) -> List[Cell]:
    return [Cell(**{**one, "wrong": tuple(one["wrong"])}) for one in json.loads(path.read_text())]


class Campaign:
    def __init__(self, arena: Arena, name: str, *, daemon: bool = False) -> None:
        self._arena = arena
        self._name = name
        self._daemon = daemon
        self.cells: List[Cell] = []
        self.runs: List[Run] = []

    def run(self, attacks: Sequence[Attack]) -> List[Cell]:
        at_once = [[HARM, QUIET]]
        if self._arena.isolator in _SHARING_PROCESSES:
            at_once = [[HARM], [QUIET]]
        for batches in at_once:
            chosen = [one for one in attacks if one.batch in batches and INSTALL in one.places]
            if chosen:
                self._install(f"attacked-{batches[0]}", chosen)
        for place, write in (
            (BUILD, self._arena.write_built_app),
            (MAKE, self._arena.write_runtime),
        ):
            chosen = [one for one in attacks if place in one.places]
            groups = [[one for one in chosen if not one.apart]]
            groups += [[one] for one in chosen if one.apart]
            for number, group in enumerate(groups):
                if group:
                    target = write(f"attacked-{number}", [one.package() for one in group])
                    self._once(target, place, group)
        return self.cells

    def exhaust(self, attacks: Sequence[Attack], limits: Sequence[str] = _LIMITS) -> List[Cell]:
        """One build for each attack, and one of an honest package after all of them."""
        for attack in attacks:
            target = self._arena.write_app("attacked", [attack.package()])
            run = self._build(target, *limits, seconds=_EXHAUST_LIMIT)
            wrong = [*self._faults(collect(self._arena, run, attack)), *of_run(run, self._arena)]
            self._note(attack.name, INSTALL, wrong, message=run.message_of(attack.package_name))
        honest = self._arena.write_app("honest", [late_bystander(len(self.runs))])
        run = self._build(honest, *limits)
        self._note(ALL_TOGETHER, INSTALL, [] if run.outcome.code == 0 else [run.output[-500:]])
        return self.cells

    def _build(self, target: str, *options: str, **more: Any) -> Run:
        run = self._arena.build(*_OPTIONS, *options, "package", target, **more)
        self.runs.append(run)
        return run

    def _once(self, target: str, place: str, attacks: Sequence[Attack]) -> None:
        # Some attacks hang a build for good.
        seconds = _ALONE_LIMIT if attacks[0].batch == ALONE else BUILD_TIME_LIMIT
        run = self._build(target, seconds=seconds)
        for attack in attacks:
            self._judge(collect(self._arena, run, attack, place))
        self._note(ALL_TOGETHER, place, of_run(run, self._arena))

    # --- Install scripts.

    def _install(self, app: str, attacks: Sequence[Attack]) -> None:
        harmless = bystanders(len(self.runs))
        packages = [*harmless, *(one.package() for one in attacks)]
        # Without a daemon, a step descends from a process that has the terminal of the user who builds.
        run = self._build(self._arena.write_app(app, packages), daemon=self._daemon)
        evidence = [collect(self._arena, run, one) for one in attacks]
        wrong = [*of_run(run, self._arena), *_disturbed(run, harmless)]
        out: Set[str] = {one.attack.package_name for one in evidence if not _may_be_released(one)}
        release, more = self._release(app, packages, attacks, out)
        wrong.extend(more)
        for one in evidence:
            self._judge(collect(self._arena, run, one.attack, INSTALL, release))
        self._note(ALL_TOGETHER, INSTALL, wrong)

    def _release(
        self, app: str, packages: Sequence[Package], attacks: Sequence[Attack], out: Set[str]
    ) -> Tuple[Optional[List[Member]], List[str]]:
        """The release of those that did not fail, and what is wrong with it.

        A binary for newer hosts must keep the release from being made; then it is left out too.
        """
        wrong: List[str] = []
        newer = {one.package_name for one in attacks if one.newer} - out
        if newer:
            target = self._arena.write_app(app, _without(packages, out))
            run = self._build(target)
            if run.outcome.code == 0:
                wrong.append("a release with binaries for newer hosts was made")
            missing = [name for name in sorted(newer) if f"({name}@1.0.0)" not in run.output]
            wrong.extend(f"the audit does not name {name}" for name in missing)
        late = late_bystander(len(self.runs))
        kept = _without(packages, out | newer | {late.name})
        target = self._arena.write_app(app, [*kept, late])
        run = self._build(target)
        wrong.extend(_disturbed(run, [late]))
        if run.outcome.code != 0:
            return None, [*wrong, "no release could be made of the others"]
        members = self._arena.released(target)
        return members, [*wrong, *_faults_of_release(members)]

    # --- Cells.

    @staticmethod
    def _faults(evidence: Evidence) -> List[str]:
        wrong: List[str] = []
        for check in (*ALWAYS, *evidence.attack.checks):
            wrong.extend(fault for fault in check(evidence) if fault not in wrong)
        return wrong

    def _judge(self, evidence: Evidence) -> None:
        wrong = self._faults(evidence)
        notes = dict(evidence.found["notes"]) if evidence.found else {}
        self._note(evidence.attack.name, evidence.place, wrong, notes, evidence.message)

    def _note(
        self,
        attack: str,
        place: str,
        wrong: Sequence[str],
        notes: Optional[Dict[str, object]] = None,
        message: str = "",
    ) -> None:
        self.cells.append(
            Cell(
                *(attack, place, self._name),
                *(tuple(wrong), notes or {}, message[:2000]),
            )
        )


def _without(packages: Sequence[Package], names: Set[str]) -> List[Package]:
    return [one for one in packages if one.name not in names]


def _may_be_released(evidence: Evidence) -> bool:
    return evidence.found is not None and not evidence.message and not evidence.attack.fails


def _disturbed(run: Run, packages: Sequence[Package]) -> List[str]:
    """What happened to packages that mean no harm."""
    wrong = []
    for package in packages:
        step = run.step_of(package.name)
        found = step.found() if step is not None else None
        if found is None:
            wrong.append(f"the step of {package.name} came to harm")
        else:
            wrong.extend(f"{package.name} {fault}" for fault in found["reached"])
    return wrong


def _faults_of_release(members: Sequence[Member]) -> List[str]:
    """What a release must never hold, and files that are not as their owners made them."""
    wrong = []
    seen: Set[str] = set()
    for info, content in members:
        name = info.name
        if name.startswith("/") or ".." in name.split("/"):
            wrong.append(f"the release holds {name!r}")
        if info.mode & 0o7000 or not (info.isreg() or info.isdir() or info.issym()):
            wrong.append(f"the release holds {name!r} with type {info.type!r}, mode {info.mode:o}")
        if name in seen and not info.isdir():
            wrong.append(f"the release holds {name!r} twice")
        seen.add(name)
        if name == "service/smoke.js" and content != b"// the application's own\n":
            wrong.append("a file of the application is another")
        if name == "node_modules/bystander/index.js" and content != b"exports.ok = true\n":
            wrong.append("a file of another package is another")
    return wrong
