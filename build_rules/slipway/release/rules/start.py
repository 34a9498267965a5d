"""Checks that a release can start: first by reading its start script, then by starting it."""

from __future__ import annotations

import logging
import os
import posixpath
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, Iterable, Mapping

from pants.engine.fs import PathGlobs, Paths
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.bundle.rules.build import Bundle, BundleRequest
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.printable import printable
from slipway.core.rules.registration import Rules
from slipway.npm.lockfiles.package import LINK
from slipway.release import start_advice, start_command, start_verdict
from slipway.release.programs import start_probe
from slipway.release.rules.contents import BundleOfRelease, ReleaseRequest
from slipway.release.rules.laid_out import LaidOutRelease
from slipway.release.start_advice import Elsewhere
from slipway.release.start_command import Content
from slipway.runtime.rules.node import Runtime
from slipway.step.rules import outputs
from slipway.step.rules.build_step import Step, StepResult

logger = logging.getLogger(__name__)
# How long a release may take until it listens, or must run without listening, in milliseconds.
_PATIENCE = {start_verdict.LISTEN: 30_000, start_verdict.RUN: 5_000}


@dataclass(frozen=True)
class StartScriptRead:
    """The release contains everything that its start script certainly needs."""


@dataclass(frozen=True)
class Started:
    """`fault` says what a release lacks to start; empty if it starts, or may start on a host."""

    fault: str = ""


def _from(member: str, paths: Iterable[str]) -> FrozenSet[str]:
    """Paths in a release as paths from the application's folder in it."""
    return (
        frozenset(posixpath.relpath(path, member) for path in paths) if member else frozenset(paths)
    )


def _content(bundle: Bundle, is_included: bool) -> Content:
    own = [bundle.own.app, *([bundle.own.static] if is_included else [])]
    report, manifest, lock = bundle.report, bundle.app.manifest, bundle.app.read.lock
    packages = (
        *(one.path for one in bundle.packages),
        *(one.path for one in lock.packages if one.kind == LINK),
    )
    member = lock.member
    return Content(
        scripts=manifest.scripts,
        files=_from(member, (path for one in own for path in one.files)),
        # Node finds the packages of the workspaces from the folder of each member.
        packages=_from(member, packages) | frozenset(packages),
        bins=frozenset(report.bins),
        links=_from(member, (path for one in own for path in one.links)),
        left_out=frozenset(report.bins_left_out),
        main=manifest.main,
        **_programs_of(bundle.runtime),
    )


def _programs_of(runtime: Runtime) -> Dict[str, Any]:
    if runtime.build is None:
        return {}
    interpreter = os.path.basename(runtime.bin)
    programs = (interpreter, "node") if runtime.is_node else (interpreter,)
    return {"programs": frozenset(programs), "interpreter": interpreter}


async def _sources(scripts: Mapping[str, str], folder: str) -> FrozenSet[str]:
    """The files in the application's folder that any of its start scripts may start."""
    wanted = {
        os.path.join(folder, candidate)
        for name in scripts
        for path in start_command.files_to_start(name, scripts)
        for candidate in start_advice.candidates(path)
        if not set(candidate) & set("*?[]{}!")
    }
    there = await Get(Paths, PathGlobs(sorted(wanted)))
    return frozenset(os.path.relpath(path, folder or ".") for path in there.files)


@rule(desc="Read start script")
async def read_start_script(request: ReleaseRequest) -> StartScriptRead:
    field_set = request.field_set
    script = field_set.run_script.value
    if not script:
        return StartScriptRead()
    found = await Get(BundleOfRelease, ReleaseRequest, request)
    bundle = await Get(Bundle, BundleRequest(found.field_set))
    is_included = field_set.static.value == "include"
    content = _content(bundle, is_included)
    findings = start_command.missing(script, content)
    for one in findings:
        if not one.is_certain:
            logger.warning(
                f"{field_set.address}: whether the release starts depends on its hosts: "
                f"{printable(str(one))}"
            )
    certain = [one for one in findings if one.is_certain]
    if certain:
        folder, member = found.field_set.folder, bundle.app.read.lock.member
        elsewhere = Elsewhere(
            bundle=found.field_set.origin,
            release=str(field_set.address),
            folder=folder,
            build_script=found.field_set.build_script.value or "",
            static=_from(member, () if is_included else bundle.own.static.files),
            unlisted=_from(member, bundle.undeclared),
            sources=await _sources(content.scripts, folder),
        )
        raise SlipwayErrors(
            "the release cannot start: it lacks what its start script runs",
            [str(one) for one in certain],
            where=f"{field_set.address}, field run_script",
            next=start_advice.advice(certain, content, elsewhere),
        )
    return StartScriptRead()


@rule(desc="Start release")
async def start_release(request: ReleaseRequest) -> Started:
    field_set = request.field_set
    how = field_set.start_probe.value or start_verdict.OFF
    if how == start_verdict.OFF or not field_set.run_script.value:
        return Started()
    found = await Get(BundleOfRelease, ReleaseRequest, request)
    bundle, laid_out = await MultiGet(
        Get(Bundle, BundleRequest(found.field_set)), Get(LaidOutRelease, ReleaseRequest, request)
    )
    result = await Get(
        StepResult,
        Step(
            start_probe.PROGRAM(
                start_probe.Arguments(
                    laid_out.launcher, _PATIENCE[how], listens=how == start_verdict.LISTEN
                )
            ),
            trees=laid_out.trees,
            outputs=start_probe.OUTPUTS,
            description=f"Start {bundle.app.name} for {bundle.server_env}",
            origin=str(field_set.address),
            inputs=laid_out.inputs,
        ),
    )
    report = await outputs.read_report(result.digest, start_probe.OUTPUTS.report)
    verdict = start_verdict.judge(report.watched, report.last, how)
    if verdict is None:
        return Started()
    script, where = field_set.run_script.value, f"{field_set.address}, field run_script"
    last = "\n".join(["last lines of its output:", *report.last] if report.last else ["no output"])
    if verdict.is_fault:
        fault = SlipwayError(
            f'the release does not start: {verdict.what} (script "{script}")',
            where=where,
            found=last,
            next="if a package is not found, move it from devDependencies to dependencies\n"
            f"if a file is not found, add it to runtime_sources or build_outputs in {found.field_set.origin}\n"
            f'or do not start the release in the build: start_probe="off" in {field_set.address}',
        )
        return Started(str(fault))
    logger.warning(
        printable(
            f'{field_set.address}: the release was started with the script "{script}": '
            f"{verdict.what}. This may be due to the build, which has no network and no "
            f'configuration of a host; a worker that listens on no port needs start_probe="run".\n'
            f"{last}"
        )
    )
    return Started()


def rules() -> Rules:
    return collect_rules()
