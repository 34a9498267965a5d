"""Warnings about an application whose release may not be what its developer expects."""

from __future__ import annotations

import logging
import os
from typing import Mapping, Sequence

from pants.engine.fs import Digest, DigestContents, DigestSubset, PathGlobs
from pants.engine.rules import Get

from slipway.bundle import secrets
from slipway.bundle.rules import line_endings
from slipway.bundle.rules.app import App, NodeAppBundleFieldSet
from slipway.bundle.rules.line_endings import ConvertedFiles, ConvertedFilesRequest
from slipway.npm.lockfiles.package import text_map
from slipway.npm.rules.app_files import AppFiles

logger = logging.getLogger(__name__)
MOST_NAMED = 10

# Scripts that only set up a developer's working copy.
_OF_DEVELOPERS = ("husky", "only-allow", "simple-git-hooks", "lefthook", "check-node-version")


def scripts_that_do_not_run(field_set: NodeAppBundleFieldSet, app: App) -> None:
    """Names the lifecycle scripts of the application, and of its npm workspaces, that do not run."""
    listed = field_set.lifecycle_scripts.value or ()
    own = {event: script for event, script in app.manifest.scripts.items() if event not in listed}
    _tell(field_set, app.manifest.path, own, 'set lifecycle_scripts=["{event}"]')
    if field_set.member:
        above = text_map(app.read.loaded_manifests["package.json"].get("scripts"))
        way_out = "start it from the build script: npm --prefix {up} run {event}"
        _tell(field_set, os.path.join(field_set.top, "package.json"), above, way_out)


def _tell(
    field_set: NodeAppBundleFieldSet, path: str, scripts: Mapping[str, str], way_out: str
) -> None:
    up = os.path.relpath(field_set.top or ".", field_set.folder or ".")
    for event in ("preinstall", "install", "postinstall"):
        script = scripts.get(event)
        if script and not any(word in script for word in _OF_DEVELOPERS):
            logger.warning(
                f'{field_set.origin}: Slipway does not run the script "{event}" of '
                f"{path}: {script}; if the build needs it, {way_out.format(event=event, up=up)}"
            )


def undeclared_files(paths: Sequence[str], field_set: NodeAppBundleFieldSet) -> None:
    if paths:
        logger.warning(
            f"{field_set.origin}: the build script also wrote {_listed(paths)}; "
            "the release contains only files of the field build_outputs"
        )


def _listed(paths: Sequence[str]) -> str:
    shown = paths[:MOST_NAMED]
    more = f" and {len(paths) - len(shown)} more" if len(paths) > len(shown) else ""
    return ", ".join(shown) + more


async def converted_files(field_set: NodeAppBundleFieldSet, app: App) -> None:
    # Git is slow in a large application, and these two files are text in every one.
    if "\r\n" in app.read.whole.text or "\r\n" in app.read.manifests["package.json"]:
        request = ConvertedFilesRequest(field_set.folder, field_set.origin)
        line_endings.tell(await Get(ConvertedFiles, ConvertedFilesRequest, request), request)


async def secrets_in(field_set: NodeAppBundleFieldSet, server: AppFiles) -> None:
    suspects = secrets.named_like_secrets(server.files)
    if not suspects:
        return
    # A name with the characters of a glob may match nothing; its file counts without its content.
    subset = await Get(Digest, DigestSubset(server.digest, PathGlobs(suspects)))
    contents = dict.fromkeys(suspects, b"")
    for file in await Get(DigestContents, Digest, subset):
        if file.path in contents:
            contents[file.path] = file.content
    found = secrets.with_secrets(contents)
    if found:
        paths = [field_set.in_field(os.path.join(field_set.top, path)) for path in found]
        globs = ", ".join(f'"!{path}"' for path in paths[:MOST_NAMED])
        logger.warning(
            f"{field_set.origin}: the release contains {len(found)} files that look like secrets: "
            f"{_listed(found)}\nnext: to leave them out, add to runtime_sources: {globs}"
        )
