"""`tailor` for Node.js applications: a bundle and a release for each npm lockfile without targets."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable

from pants.core.goals.tailor import PutativeTarget, PutativeTargets, PutativeTargetsRequest
from pants.engine.fs import DigestContents, PathGlobs, Paths
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.unions import UnionRule
from pants.util.frozendict import FrozenDict

from slipway.bundle.targets import NodeAppBundle
from slipway.core.rules.declared_targets import DeclaredTargets, DeclaredTargetsRequest
from slipway.core.rules.registration import Rules
from slipway.npm.targets import NpmLockField
from slipway.release import first_build
from slipway.release.targets import ReleaseTarball


@dataclass(frozen=True)
class PutativeNodeAppsRequest(PutativeTargetsRequest):
    pass


@dataclass(frozen=True)
class _FirstLookRequest:
    """`folder` is the folder of an application without targets."""

    folder: str


@dataclass(frozen=True)
class _FirstLook:
    """The fields of an application that differ from the defaults."""

    bundle: FrozenDict[str, Any]
    release: FrozenDict[str, Any]


async def _read(folder: str, paths: Iterable[str]) -> Dict[str, str]:
    """The texts of those files in the folder that exist."""
    wanted = [os.path.join(folder, one) for one in paths if not set(one) & set("*?[]{}!")]
    contents = await Get(DigestContents, PathGlobs(wanted))
    return {
        os.path.relpath(one.path, folder or "."): one.content.decode("utf-8", "replace")
        for one in contents
    }


@rule
async def look_at_app(request: _FirstLookRequest) -> _FirstLook:
    beside, contents = await MultiGet(
        Get(Paths, PathGlobs([os.path.join(request.folder, "*")])),
        Get(DigestContents, PathGlobs([os.path.join(request.folder, "package.json")])),
    )
    try:
        manifest = json.loads(contents[0].content) if contents else {}
    except ValueError:
        manifest = {}
    if not isinstance(manifest, dict):
        manifest = {}
    files, folders = (
        tuple(os.path.basename(path) for path in paths) for paths in (beside.files, beside.dirs)
    )
    texts = await _read(request.folder, first_build.files_to_read(manifest))
    folder = first_build.Folder(files, folders, texts)
    return _FirstLook(
        FrozenDict(first_build.bundle_fields(manifest, folder)),
        FrozenDict(first_build.release_fields(manifest)),
    )


@rule(desc="Find Node.js applications without a bundle")
async def find_putative_apps(request: PutativeNodeAppsRequest) -> PutativeTargets:
    found, targets = await MultiGet(
        Get(Paths, PathGlobs, request.path_globs("package-lock.json")),
        Get(DeclaredTargets, DeclaredTargetsRequest((NpmLockField,))),
    )
    owned = {target[NpmLockField].path for target in targets}
    putative = []
    for path in sorted(set(found.files) - owned):
        if "node_modules" in path.split("/"):
            continue
        folder = os.path.dirname(path)
        seen = await Get(_FirstLook, _FirstLookRequest(folder))
        putative.append(
            PutativeTarget(
                folder,
                "bundle",
                NodeAppBundle.alias,
                triggering_sources=[],
                # Empty: for owned sources, tailor would write a field `sources` into the BUILD file.
                owned_sources=[],
                kwargs=seen.bundle,
            )
        )
        putative.append(
            PutativeTarget.for_target_type(
                ReleaseTarball,
                path=folder,
                name="release",
                triggering_sources=[],
                kwargs={"bundle": ":bundle", **seen.release},
            )
        )
    return PutativeTargets(putative)


def rules() -> Rules:
    return [*collect_rules(), UnionRule(PutativeTargetsRequest, PutativeNodeAppsRequest)]
