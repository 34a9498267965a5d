"""The files of an application for one purpose: its build, its tests or its release."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Tuple

from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.bundle.rules.app import App, AppRequest, NodeAppBundleFieldSet
from slipway.bundle.rules.linked_folders import LinkedFolders
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.core.targets import GlobsField
from slipway.npm.rules.app_files import AppFiles, AppFilesRequest
from slipway.npm.rules.locks import is_below


@dataclass(frozen=True)
class SourcesRequest:
    """The files of `globs`, one of the bundle's fields; with `is_production`, those of a release.

    Their paths are relative to the folder of the lockfile, as in a release.
    """

    field_set: NodeAppBundleFieldSet
    globs: GlobsField
    is_production: bool = False


@rule
async def gather_sources(request: SourcesRequest) -> AppFiles:
    field_set, globs = request.field_set, request.globs.globs()
    app, linked = await MultiGet(
        Get(App, AppRequest(field_set)), Get(LinkedFolders, AppRequest(field_set))
    )
    top, member = field_set.top, field_set.member
    _require_below(top, request)
    return await Get(
        AppFiles,
        AppFilesRequest(
            top,
            (
                *globs,
                app.manifest.path,
                *linked.globs(top, production=request.is_production),
                *_of_workspaces(field_set, request.is_production),
            ),
            excluded=(*field_set.outputs, *((f"{member}/node_modules",) if member else ())),
        ),
    )


def _of_workspaces(field_set: NodeAppBundleFieldSet, is_production: bool) -> Tuple[str, ...]:
    """The package.json of the workspaces, by which npm finds their members."""
    is_needed = field_set.member and not is_production
    return (os.path.join(field_set.top, "package.json"),) if is_needed else ()


def _require_below(top: str, request: SourcesRequest) -> None:
    for glob in request.globs.value or ():
        if glob.startswith("//") and not is_below(glob[2:], top):
            alias = request.globs.alias
            raise SlipwayError(
                f'the field {alias} names files outside of "{top}", the folder of the lockfile',
                where=f"{request.field_set.origin}, field {alias}",
                found=glob,
                next=f"move the files into {top}, and name them there",
            )


def rules() -> Rules:
    return collect_rules()
