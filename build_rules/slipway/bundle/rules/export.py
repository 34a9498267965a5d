"""`export` of an application: the pinned runtime and the full install, for editors and manual use.

./pants export --resolve=npm:apps/koa-kkl
env DEBUG=true dist/export/node/apps.koa-kkl/node_runtime/bin/node app.js
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Dict, Iterable, Sequence

from pants.core.goals.export import (
    ExportRequest,
    ExportResult,
    ExportResults,
    ExportSubsystem,
    PostProcessingCommand,
)
from pants.engine.fs import AddPrefix, Digest, MergeDigests
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import Target
from pants.engine.unions import UnionRule

from slipway.bundle.programs import export
from slipway.bundle.rules.app import App, AppRequest, NodeAppBundleFieldSet
from slipway.core.rules.declared_targets import DeclaredTargets, DeclaredTargetsRequest
from slipway.core.rules.registration import Rules
from slipway.npm.rules.compile import InstalledPackages
from slipway.npm.rules.locks import LockUsers, LockUsersRequest, folders_of_resolves, resolve_name
from slipway.npm.targets import NpmLockField
from slipway.runtime.rules.node import Runtime
from slipway.step.rules.host_settings import HostSettings
from slipway.step.rules.program import Program, ProgramRequest, command

logger = logging.getLogger(__name__)
_MOST_NAMED = 10
# The folder of the program in the exported folder; the program removes it.
_FOLDER = ".slipway-unpack"


@dataclass(frozen=True)
class ExportNodeApps(ExportRequest):
    pass


@dataclass(frozen=True)
class _ExportAppRequest:
    field_set: NodeAppBundleFieldSet


@rule
async def export_app(request: _ExportAppRequest, settings: HostSettings) -> ExportResult:
    field_set = request.field_set
    app, runtime = await MultiGet(
        Get(App, AppRequest(field_set)), Get(Runtime, AppRequest(field_set))
    )
    installed, program = await MultiGet(
        Get(InstalledPackages, AppRequest(field_set)),
        Get(Program, ProgramRequest((export.__name__,))),
    )
    folder = field_set.folder.replace("/", ".")
    return ExportResult(
        f"{runtime.builder.label} and the packages of {app.name}",
        f"node/{folder}",
        digest=await Get(
            Digest,
            MergeDigests(
                [
                    installed.everything,
                    runtime.builder.tree.digest,
                    await Get(Digest, AddPrefix(program.digest, _FOLDER)),
                ]
            ),
        ),
        post_processing_cmds=[
            PostProcessingCommand(
                [
                    *command(settings.python, export.__name__, f"{{digest_root}}/{_FOLDER}"),
                    "{digest_root}",
                ]
            )
        ],
        resolve=resolve_name(app.read.lock.path),
    )


def _say_what_to_type(targets: Iterable[Target], resolves: Sequence[str]) -> None:
    """Pants exports what --resolve names, and nothing for targets without a word."""
    found = {
        resolve_name(target[NpmLockField].path or "")
        for target in targets
        if not resolves and NodeAppBundleFieldSet.is_applicable(target)
    }
    for name in sorted(found)[:_MOST_NAMED]:
        logger.warning(
            f"export of an application needs its resolve: ./pants export --resolve={name}"
        )


@rule(desc="Export Node.js applications")
async def export_apps(request: ExportNodeApps, goal: ExportSubsystem) -> ExportResults:
    folders = folders_of_resolves(goal.resolve)
    if not folders:
        _say_what_to_type(request.targets, goal.resolve)
        return ExportResults(())
    users = await Get(LockUsers, LockUsersRequest(folders))
    targets = await Get(
        DeclaredTargets,
        DeclaredTargetsRequest(NodeAppBundleFieldSet.required_fields, users.folders),
    )
    # By folder: each member of npm workspaces has its own packages.
    wanted: Dict[str, NodeAppBundleFieldSet] = {}
    for target in targets:
        field_set = NodeAppBundleFieldSet.create(target)
        name = resolve_name(field_set.lockfile.path or "")
        if name in goal.resolve:
            wanted.setdefault(field_set.folder, field_set)
    return ExportResults(
        await MultiGet(
            Get(ExportResult, _ExportAppRequest(field_set)) for field_set in wanted.values()
        )
    )


def rules() -> Rules:
    return [*collect_rules(), UnionRule(ExportRequest, ExportNodeApps)]
