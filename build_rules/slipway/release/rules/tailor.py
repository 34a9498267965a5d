"""`tailor` for Node.js applications: a bundle and a release for each npm lockfile without targets."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator

from pants.core.goals.tailor import PutativeTarget, PutativeTargets, PutativeTargetsRequest
from pants.engine.fs import DigestContents, PathGlobs, Paths
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.unions import UnionRule
from pants.util.frozendict import FrozenDict

from slipway.bundle.targets import NodeAppBundle
from slipway.core.rules.declared_targets import DeclaredTargets, DeclaredTargetsRequest
from slipway.core.rules.registration import Rules
from slipway.npm.lockfiles import manifest as npm_manifest
from slipway.npm.lockfiles.members import members_in
from slipway.npm.lockfiles.package import text_map
from slipway.npm.rules.locks import parents
from slipway.npm.targets import NpmLockField, PackageJsonField
from slipway.release import first_build
from slipway.release.targets import ReleaseTarball

_LOCK = "package-lock.json"


@dataclass(frozen=True)
class PutativeNodeAppsRequest(PutativeTargetsRequest):
    pass


@dataclass(frozen=True)
class _FirstLookRequest:
    """`folder` is the folder of an application without targets.

    `lockfile` is the lockfile of its npm workspaces, if it is a member.
    """

    folder: str
    lockfile: str = ""


@dataclass(frozen=True)
class _FirstLook:
    """The fields of an application that differ from the defaults.

    `starts`: package.json has a script that starts it. `has_workspaces`: it lists members.
    """

    bundle: FrozenDict[str, Any]
    release: FrozenDict[str, Any]
    starts: bool
    has_workspaces: bool


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
    folder = first_build.Folder(files, folders, texts, request.folder, request.lockfile)
    return _FirstLook(
        FrozenDict(first_build.bundle_fields(manifest, folder)),
        FrozenDict(first_build.release_fields(manifest)),
        first_build.run_script(text_map(manifest.get("scripts"))) is not None,
        bool(npm_manifest.workspaces(manifest)),
    )


async def _lockfiles_of_members(folders: Iterable[str]) -> Dict[str, str]:
    """The lockfiles of npm workspaces, by the folders of their members among these folders."""
    above = {folder: parents(folder) for folder in folders}
    wanted = sorted({os.path.join(one, _LOCK) for found in above.values() for one in found})
    contents = await Get(DigestContents, PathGlobs(wanted))
    members = {
        os.path.dirname(one.path): members_in(one.content.decode("utf-8", "replace"))
        for one in contents
    }
    lockfiles: Dict[str, str] = {}
    for folder, found in above.items():
        for top in found:
            if os.path.relpath(folder, top or ".") in members.get(top, ()):
                lockfiles[folder] = os.path.join(top, _LOCK)
                break
    return lockfiles


@rule(desc="Find Node.js applications without a bundle")
async def find_putative_apps(request: PutativeNodeAppsRequest) -> PutativeTargets:
    locks, manifests, targets = await MultiGet(
        Get(Paths, PathGlobs, request.path_globs(_LOCK)),
        Get(Paths, PathGlobs, request.path_globs("package.json")),
        Get(DeclaredTargets, DeclaredTargetsRequest((NpmLockField, PackageJsonField))),
    )
    owned = {os.path.dirname(target[PackageJsonField].file_path) for target in targets}
    own_lock = {os.path.dirname(path) for path in locks.files}
    others = {os.path.dirname(path) for path in manifests.files} - own_lock
    lockfiles = await _lockfiles_of_members(one for one in others if not _is_installed(one))
    folders = sorted(one for one in (*own_lock, *lockfiles) if not _is_installed(one))
    seen = await MultiGet(
        Get(_FirstLook, _FirstLookRequest(one, lockfiles.get(one, ""))) for one in folders
    )
    apps = {
        folder: look
        for folder, look in zip(folders, seen)
        # Members and the folder above them are packages or folders of tools, unless something starts.
        if folder not in owned and (look.starts or not (look.has_workspaces or folder in lockfiles))
    }
    return PutativeTargets(one for folder, look in apps.items() for one in _targets(folder, look))


def _is_installed(folder: str) -> bool:
    return "node_modules" in folder.split("/")


def _targets(folder: str, look: _FirstLook) -> Iterator[PutativeTarget]:
    yield PutativeTarget(
        folder,
        "bundle",
        NodeAppBundle.alias,
        triggering_sources=[],
        # Empty: for owned sources, tailor would write a field `sources` into the BUILD file.
        owned_sources=[],
        kwargs=look.bundle,
    )
    yield PutativeTarget.for_target_type(
        ReleaseTarball,
        path=folder,
        name="release",
        triggering_sources=[],
        kwargs={"bundle": ":bundle", **look.release},
    )


def rules() -> Rules:
    return [*collect_rules(), UnionRule(PutativeTargetsRequest, PutativeNodeAppsRequest)]
