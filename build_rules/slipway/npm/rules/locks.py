"""Reads an application's npm lockfile, fetch lock and manifests, and compares them."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Optional, Tuple

from pants.engine.fs import DigestContents, PathGlobs, Paths
from pants.engine.rules import Get, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.npm.lockfiles import fetch_lock, manifest, members, platform_gaps, production
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles.fetch_lock import FetchLock
from slipway.npm.lockfiles.lock import NpmLock
from slipway.subsystem import InstallScripts

logger = logging.getLogger(__name__)
_RESOLVE = "npm:"


@dataclass(frozen=True)
class NpmLockRequest:
    """The paths of the npm lockfile and of the application's package.json, relative to the build root.

    They are in the same folder, unless the application is a member of npm workspaces.
    """

    path: str
    package_json: str
    origin: str


@dataclass(frozen=True)
class ReadNpmLock:
    """A lockfile that is up to date with its manifests.

    `lock` is the part of it that the application needs: all of `whole`, unless the application is a
    member of npm workspaces. The keys of `manifests` are paths relative to the lockfile's folder, and
    "package.json" is the one of the workspaces. `npmrc` is the text of the project's .npmrc; empty without
    this file.
    """

    lock: NpmLock
    whole: NpmLock
    manifests: FrozenDict[str, str]
    npmrc: str

    @property
    def loaded_manifests(self) -> Dict[str, Dict[str, Any]]:
        return {
            path: manifest.load(text, os.path.join(self.lock.folder, path))
            for path, text in self.manifests.items()
        }


@dataclass(frozen=True)
class FetchLockRequest:
    lock: NpmLock


def resolve_name(lock_path: str) -> str:
    """The name of a folder's fetch lock for the option `--resolve`."""
    return f"{_RESOLVE}{os.path.dirname(lock_path)}"


def folders_of_resolves(names: Iterable[str]) -> Tuple[str, ...]:
    """The folders of the npm lockfiles among the names of resolves, sorted."""
    return tuple(sorted({name[len(_RESOLVE) :] for name in names if name.startswith(_RESOLVE)}))


async def _read(paths: list[str]) -> Dict[str, str]:
    contents = await Get(DigestContents, PathGlobs(paths))
    texts = {}
    for file in contents:
        try:
            texts[file.path] = file.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SlipwayError(
                f'"{file.path}" is not UTF-8',
                where=file.path,
                found=str(error),
                next="convert the file to UTF-8",
            ) from None
    return texts


@rule
async def read_npm_lock(request: NpmLockRequest) -> ReadNpmLock:
    folder = os.path.dirname(request.path)
    # Exclude node_modules: it may be a symlink to an export outside the build root, which Pants rejects.
    installed = "!" + os.path.join(folder, "node_modules")
    beside = await Get(Paths, PathGlobs([os.path.join(folder, "*"), installed]))
    names = [os.path.basename(path) for path in beside.files]
    if os.path.basename(request.path) not in names:
        above = await _lock_of_workspaces(request)
        if above is None:
            npm_lock.refuse_foreign_lock(names, folder)
        raise SlipwayError(
            f'the lockfile "{request.path}" does not exist',
            where=f"{request.origin}, field lockfile",
            found=f"{above}, which lists {os.path.dirname(request.package_json)}" if above else "",
            next=f'set lockfile="//{above}"' if above else npm_lock.rewrite_lock(request.path),
        )
    own = os.path.dirname(request.package_json)
    if not is_below(own, folder):
        raise SlipwayError(
            "package.json must be in the folder of its lockfile, or below it in a workspace",
            where=f"{request.origin}, fields package_json and lockfile",
            found=f"{request.package_json} and {request.path}",
            next="move one file to the folder of the other",
        )
    member = os.path.relpath(own or ".", folder or ".")
    texts = await _read([request.path])
    lock = npm_lock.parse(texts[request.path], request.path)
    paths = {one: os.path.join(folder, one) for one in lock.manifests}
    npmrc = os.path.join(folder, ".npmrc")
    found = await _read([*paths.values(), npmrc])
    manifests = {one: found[path] for one, path in paths.items() if path in found}
    manifest.require_in_step(lock, manifests)
    needed = lock if member == "." else _lock_of_member(lock, member, request)
    for warning in (platform_gaps.warning(needed), production.marked_as_dev_warning(needed)):
        if warning:
            logger.warning(warning)
    kept = {one: manifests[one] for one in needed.manifests}
    return ReadNpmLock(needed, lock, FrozenDict(kept), found.get(npmrc, ""))


def _lock_of_member(lock: NpmLock, member: str, request: NpmLockRequest) -> NpmLock:
    if member in lock.link_targets:
        return members.lock_of_member(lock, member)
    known = [one for one in lock.link_targets if one]
    top = os.path.join(lock.folder, "package.json")
    raise SlipwayError(
        f'the lockfile "{request.path}" has no member "{member}"',
        where=f"{request.origin}, fields package_json and lockfile",
        found=f"members: {', '.join(known)}" if known else "no workspaces",
        next=f'add the folder to "workspaces" in {top}, and run: {npm_lock.rewrite_lock(lock.path)}\n'
        f"or give {request.package_json} a lockfile of its own, without the field lockfile",
    )


async def _lock_of_workspaces(request: NpmLockRequest) -> Optional[str]:
    """The path of the nearest lockfile above that has the application as a member."""
    own = os.path.dirname(request.package_json)
    above = parents(own)
    wanted = [os.path.join(folder, name) for folder in above for name in npm_lock.LOCK_NAMES]
    texts = await _read(wanted)
    for path in wanted:
        member = os.path.relpath(own, os.path.dirname(path) or ".")
        if member in members.members_in(texts.get(path, "")):
            return path
    return None


def is_below(folder: str, top: str) -> bool:
    """Whether a folder is `top` or below it; "" is the build root."""
    return not top or folder == top or folder.startswith(f"{top}/")


def parents(folder: str) -> Tuple[str, ...]:
    """The folders above a folder, the nearest first; the build root is ""."""
    found = []
    while folder:
        folder = os.path.dirname(folder)
        found.append(folder)
    return tuple(found)


@dataclass(frozen=True)
class LockUsersRequest:
    """`folders` have npm lockfiles."""

    folders: Tuple[str, ...]


@dataclass(frozen=True)
class LockUsers:
    """These folders and those of the members of their workspaces: the applications of the lockfiles."""

    folders: Tuple[str, ...]


@rule
async def find_lock_users(request: LockUsersRequest) -> LockUsers:
    wanted = [os.path.join(one, name) for one in request.folders for name in npm_lock.LOCK_NAMES]
    texts = await _read(wanted)
    found = dict.fromkeys(request.folders)
    for path, text in texts.items():
        top = os.path.dirname(path)
        found.update(dict.fromkeys(os.path.join(top, one) for one in members.members_in(text)))
    return LockUsers(tuple(found))


@rule
async def read_fetch_lock(request: FetchLockRequest, mirrors: InstallScripts) -> FetchLock:
    command = fetch_lock.renew_command(request.lock.path)
    path = os.path.join(request.lock.folder, fetch_lock.FILE_NAME)
    text = (await _read([path])).get(path)
    if text is None:
        raise SlipwayError(
            f'the lockfile "{request.lock.path}" has no fetch lock',
            where=path,
            found="no such file",
            next=command,
        )
    parsed = fetch_lock.parse(text, path, command)
    fetch_lock.require_fresh(request.lock, parsed)
    fetch_lock.require_known_variables(parsed, mirrors.variables)
    if parsed.missing:
        names = ", ".join(f"{one.name}@{one.version}" for one in parsed.missing)
        logger.warning(
            f"{path}: the registry did not have these optional packages, so installs skip them: "
            f"{names}"
        )
    return parsed


def rules() -> Rules:
    return collect_rules()
