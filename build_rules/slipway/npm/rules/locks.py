"""Reads an application's npm lockfile, fetch lock and manifests, and compares them."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Tuple

from pants.engine.fs import DigestContents, PathGlobs, Paths
from pants.engine.rules import Get, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.npm.lockfiles import fetch_lock, manifest, platform_gaps
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles.fetch_lock import FetchLock
from slipway.npm.lockfiles.lock import NpmLock
from slipway.subsystem import InstallScripts

logger = logging.getLogger(__name__)
_RESOLVE = "npm:"


@dataclass(frozen=True)
class NpmLockRequest:
    """The paths of the npm lockfile and the root manifest, relative to the build root."""

    path: str
    package_json: str
    origin: str


@dataclass(frozen=True)
class ReadNpmLock:
    """A lockfile that is up to date with its manifests.

    The keys of `manifests` are paths relative to the lockfile's folder. `npmrc` is the text of the
    project's .npmrc; empty if there is no such file.
    """

    lock: NpmLock
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
        npm_lock.refuse_foreign_lock(names, folder)
        raise SlipwayError(
            f'the lockfile "{request.path}" does not exist',
            where=f"{request.origin}, field lockfile",
            next=npm_lock.rewrite_lock(request.path),
        )
    if os.path.dirname(request.package_json) != folder:
        raise SlipwayError(
            "package.json and its lockfile must be in the same folder",
            where=f"{request.origin}, fields package_json and lockfile",
            found=f"{request.package_json} and {request.path}",
            next="move one file to the folder of the other",
        )
    texts = await _read([request.path])
    lock = npm_lock.parse(texts[request.path], request.path)
    paths = {one: os.path.join(folder, one) for one in lock.manifests}
    npmrc = os.path.join(folder, ".npmrc")
    found = await _read([*paths.values(), npmrc])
    manifests = {one: found[path] for one, path in paths.items() if path in found}
    manifest.require_in_step(lock, manifests)
    gaps = platform_gaps.warning(lock)
    if gaps:
        logger.warning(gaps)
    return ReadNpmLock(lock, FrozenDict(manifests), found.get(npmrc, ""))


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
