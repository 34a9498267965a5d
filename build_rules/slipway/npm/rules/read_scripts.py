"""Finds install scripts without a decision before the install, if the lockfile lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from pants.engine.rules import Get, collect_rules, rule

from slipway.core.rules.registration import Rules
from slipway.npm.install_report import ScriptedPackage
from slipway.npm.lockfiles import fetch_lock, manifest
from slipway.npm.lockfiles.fetch_lock import FetchLock
from slipway.npm.lockfiles.production import production_paths
from slipway.npm.programs import read_scripts
from slipway.npm.rules.install import InstallRequest, as_argument, as_input, words_of_locks
from slipway.npm.rules.locks import FetchLockRequest
from slipway.step.rules import outputs
from slipway.step.rules.build_step import Step, StepResult
from slipway.step.rules.locked_files import LockedFiles
from slipway.toolchain.rules.image import BaseRoot


@dataclass(frozen=True)
class UndecidedScripts:
    """Packages with install scripts without a decision, as far as the lockfile lists them."""

    packages: Tuple[ScriptedPackage, ...]


@rule(desc="Read install scripts")
async def read_undecided_scripts(request: InstallRequest, base: BaseRoot) -> UndecidedScripts:
    lock, decided = request.read.lock, request.decided()
    undecided = [
        one for one in lock.with_install_script if one.path in decided and not decided[one.path]
    ]
    if not undecided:
        return UndecidedScripts(())
    fetched = await Get(FetchLock, FetchLockRequest(request.read.whole))
    major = manifest.npm_major(request.runtime.npm_version)
    production = production_paths(lock, major)
    cached = {
        (one.tarball.name, one.tarball.version, one.tarball.integrity): one
        for one in fetch_lock.cached_tarballs(lock, fetched, major)
    }
    found = [
        (one, cached[one.name, one.version, one.integrity or ""])
        for one in undecided
        # Neither those for other systems, nor tarballs in the application's folder.
        if (one.name, one.version, one.integrity or "") in cached
    ]
    if not found:
        return UndecidedScripts(())
    result = await Get(
        StepResult,
        Step(
            read_scripts.PROGRAM(
                read_scripts.Arguments(
                    tuple(
                        read_scripts.Packed(
                            one.path,
                            one.name,
                            str(one.version),
                            one.path in production,
                            as_argument(tarball),
                        )
                        for one, tarball in found
                    )
                )
            ),
            trees=base.trees,
            outputs=read_scripts.OUTPUTS,
            description=f"Read the install scripts of {len(found)} npm packages",
            origin=request.origin,
            locked=LockedFiles(
                tuple({as_input(tarball): None for _, tarball in found}), project=lock.folder
            ),
            words=words_of_locks(lock, fetched),
        ),
    )
    report = await outputs.read_report(result.digest, read_scripts.OUTPUTS.report)
    return UndecidedScripts(report.packages)


def rules() -> Rules:
    return collect_rules()
