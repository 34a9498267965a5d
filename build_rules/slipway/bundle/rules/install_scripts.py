"""The goal `install-scripts`: lists packages with install scripts, and pins their binaries.

./pants install-scripts //apps/report:bundle
./pants install-scripts --pin=sqlite3 //apps/report:bundle

Slipway does not compute which files a package downloads. It runs the package's own script and records
the requests, file by file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from pants.base.build_environment import get_buildroot
from pants.engine.console import Console
from pants.engine.fs import (
    CreateDigest,
    Digest,
    FileContent,
    Workspace,
)
from pants.engine.goal import Goal
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, MultiGet, collect_rules, goal_rule, rule
from pants.engine.target import Targets

from slipway.bundle.programs import install_scripts as program
from slipway.bundle.rules.app import AppRequest, NodeAppBundleFieldSet
from slipway.bundle.rules.linked_folders import LinkedFolders
from slipway.core import text_table
from slipway.core.errors import SlipwayError, nearest
from slipway.core.rules.registration import Rules
from slipway.npm.lockfiles import fetch_lock
from slipway.npm.lockfiles.fetch_lock import FetchLock, PinnedBinary, is_wanted
from slipway.npm.lockfiles.package import Package
from slipway.npm.rules.compile import AskedFiles, AskRequest
from slipway.npm.rules.install import InstallRequest, UnpackedPackages
from slipway.npm.rules.locks import FetchLockRequest
from slipway.npm.scripts import decisions, mirrors
from slipway.npm.scripts.mirrors import Asked
from slipway.step.rules import outputs
from slipway.step.rules.network_step import NetworkStep, NetworkStepResult
from slipway.subsystem import InstallScripts

_MOST_FILES = 8


# --- The table.


@dataclass(frozen=True)
class ScriptedPackages:
    """The rows of the table: label, kind of script, variable, decision and pinned files."""

    rows: Tuple[Tuple[str, str, str, str, str], ...]


def _table(found: ScriptedPackages) -> str:
    head = ("package", "install script", "mirror variable", "decision", "pinned")
    return text_table.render([head, *found.rows])


@rule
async def find_scripted_packages(request: AppRequest) -> ScriptedPackages:
    install = await Get(InstallRequest, AppRequest, request)
    unpacked, fetched = await MultiGet(
        Get(UnpackedPackages, InstallRequest, install),
        Get(FetchLock, FetchLockRequest(install.read.whole)),
    )
    by_path = {one.path: one for one in install.read.lock.packages}
    linked = await Get(LinkedFolders, AppRequest, request)
    rows = []
    folders = [folder.described() for folder in linked.with_scripts]
    for scripted in (*unpacked.report.install_scripts, *folders):
        decision = decisions.decide(install.decisions, by_path[scripted.path])
        pinned = fetched.pinned(scripted.name, scripted.version)
        rows.append(
            (
                scripted.label,
                mirrors.kind(scripted.scripts),
                ", ".join(scripted.variables[:1]) or "-",
                decision.value if decision else "missing",
                ", ".join(f"{pin.path} {pin.sha256[:12]}" for pin in pinned) or "-",
            )
        )
    return ScriptedPackages(tuple(sorted(set(rows))))


# --- Pinning.


@dataclass(frozen=True)
class PinRequest:
    """A request to pin the binaries of the package `name`, or the local file `from_file`.

    `already` are the binaries that this run has pinned before: bundles may share a lockfile.
    """

    field_set: NodeAppBundleFieldSet
    name: str
    from_file: Optional[str]
    already: Tuple[PinnedBinary, ...]


@dataclass(frozen=True)
class NewPins:
    """The new fetch lock, the new pins, and a message about them."""

    digest: Digest
    pins: Tuple[PinnedBinary, ...]
    told: str


@dataclass(frozen=True)
class _PinFile:
    package: Package
    asked: Asked
    request: PinRequest
    project: str


@rule
async def pin_binaries(request: PinRequest) -> NewPins:
    install = await Get(InstallRequest, AppRequest(request.field_set))
    lock = install.read.lock
    whole = install.read.whole
    fetched = await Get(FetchLock, FetchLockRequest(whole))
    packages = _named(lock.packages, request)
    before = {*fetched.binaries, *(one for one in request.already if is_wanted(one, whole))}
    pins: List[PinnedBinary] = []
    for package in packages:
        label = (package.name, package.version)
        known = [one for one in before if (one.name, one.version) == label]
        for _ in range(_MOST_FILES):
            asked = await Get(
                AskedFiles,
                AskRequest(install.taking_prebuilt(package), package, tuple(known)),
            )
            missing = [one for one in asked.files if not one.given]
            if not missing or (request.from_file and pins):
                break
            pin = await Get(PinnedBinary, _PinFile(package, missing[0], request, lock.folder))
            known.append(pin)
            pins.append(pin)
    command = fetch_lock.renew_command(lock.path)
    text = fetch_lock.render(fetched.entries, command, [*before, *pins], fetched.missing)
    digest = await Get(Digest, CreateDigest([FileContent(fetched.path, text.encode())]))
    told = ", ".join(f"{one.path} ({one.size} bytes, SHA-256 {one.sha256})" for one in pins)
    said = f"pinned in {fetched.path}: {told}" if told else "all binaries are pinned already"
    return NewPins(digest, tuple(pins), said)


def package_name(text: str) -> str:
    """The npm name for an option; only scoped names contain a slash, so `@` may be omitted."""
    return f"@{text}" if "/" in text and not text.startswith("@") else text


def _named(packages: Sequence[Package], request: PinRequest) -> List[Package]:
    found = {
        (one.name, one.version): one
        for one in packages
        if one.in_node_modules and one.name == request.name
    }
    if not found:
        near = nearest(request.name, {one.name for one in packages if one.in_node_modules})
        raise SlipwayError(
            f'the lockfile has no package "{request.name}"',
            where=f"{request.field_set.address}, option --pin",
            found=request.name,
            next=f"did you mean {', '.join(near)}?" if near else "correct the name",
        )
    return list(found.values())


@rule
async def pin_file(wanted: _PinFile) -> PinnedBinary:
    package, asked = wanted.package, wanted.asked
    local = wanted.request.from_file
    result = await Get(
        NetworkStepResult,
        NetworkStep(
            program.PROGRAM(
                program.Arguments(
                    name=package.name,
                    variable=asked.variable,
                    path=asked.path,
                    file=os.path.join(get_buildroot(), local) if local else None,
                )
            ),
            inputs=EMPTY_DIGEST,
            description=f"Fetch {asked.path} of {package.name}",
            project=wanted.project,
        ),
    )
    report = await outputs.read_report(result.digest, program.REPORT)
    return PinnedBinary(
        package.name,
        str(package.version),
        report.sha256,
        report.size,
        asked.variable,
        asked.path,
    )


# --- The goal.


class InstallScriptsGoal(Goal):
    subsystem_cls = InstallScripts
    environment_behavior = Goal.EnvironmentBehavior.LOCAL_ONLY


@goal_rule
async def list_install_scripts(
    console: Console, goal: InstallScripts, targets: Targets, workspace: Workspace
) -> InstallScriptsGoal:
    chosen = [one for one in targets if NodeAppBundleFieldSet.is_applicable(one)]
    if not chosen:
        raise SlipwayError(
            "./pants install-scripts needs a node_app_bundle",
            found="no node_app_bundle among the targets",
            next="./pants install-scripts //apps/koa-kkl:bundle",
        )
    field_sets = [NodeAppBundleFieldSet.create(one) for one in chosen]
    if goal.pin:
        pins: List[PinnedBinary] = []
        for field_set in field_sets:
            request = PinRequest(field_set, package_name(goal.pin), goal.from_file, tuple(pins))
            pinned = await Get(NewPins, PinRequest, request)
            workspace.write_digest(pinned.digest)
            pins.extend(pinned.pins)
            console.print_stderr(f"{field_set.address}: {pinned.told}")
    scripted = await MultiGet(Get(ScriptedPackages, AppRequest(one)) for one in field_sets)
    with goal.line_oriented(console) as print_line:
        for field_set, found in zip(field_sets, scripted):
            print_line(str(field_set.address))
            print_line(_table(found) if found.rows else "no package has an install script")
    return InstallScriptsGoal(exit_code=0)


def rules() -> Rules:
    return collect_rules()
