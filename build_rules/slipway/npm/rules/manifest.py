"""Reads the package.json of a target: name, version and scripts."""

from __future__ import annotations

from dataclasses import dataclass

from pants.engine.fs import DigestContents, PathGlobs
from pants.engine.rules import Get, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.core.errors import SlipwayError, nearest
from slipway.core.json_text import load_object
from slipway.core.rules.registration import Rules
from slipway.npm.lockfiles.package import text_map


@dataclass(frozen=True)
class ManifestRequest:
    """`path` is relative to the build root."""

    path: str
    origin: str


@dataclass(frozen=True)
class Manifest:
    path: str
    name: str
    version: str
    scripts: FrozenDict[str, str]
    main: str = ""


@rule
async def read_manifest(request: ManifestRequest) -> Manifest:
    path = request.path
    contents = await Get(DigestContents, PathGlobs([path]))
    if not contents:
        raise SlipwayError(
            f'the manifest "{path}" does not exist',
            where=f"{request.origin}, field package_json",
            next=f"create {path}, or correct the field",
        )
    text = contents[0].content.decode("utf-8", "replace")
    manifest = load_object(text, path, next=f"correct {path}")
    for key in ("name", "version"):
        if not isinstance(manifest.get(key), str) or not manifest[key]:
            raise SlipwayError(
                f'"{path}" has no valid {key}, which Slipway needs to name the release',
                where=path,
                found=repr(manifest.get(key)),
                next=f'add "{key}" to {path}',
            )
    scripts = FrozenDict(text_map(manifest.get("scripts")))
    main = manifest.get("main")
    return Manifest(
        path,
        manifest["name"],
        manifest["version"],
        scripts,
        main if isinstance(main, str) else "",
    )


def check_script(
    manifest: Manifest,
    script: str,
    where: str,
    otherwise: str = "name another script in the field",
) -> None:
    """Raises SlipwayError if package.json has no such script.

    `where` names the target and field; `otherwise` is the alternative to adding the script.
    """
    scripts = manifest.scripts
    if script not in scripts:
        known = ", ".join(sorted(scripts)) or "none"
        guesses = nearest(script, scripts)
        hint = f"did you mean {guesses[0]}? " if guesses else ""
        raise SlipwayError(
            f'package.json has no script "{script}"',
            where=where,
            found=f"the scripts of {manifest.path} are {known}",
            next=f"{hint}Add the script to {manifest.path}, or {otherwise}",
        )


def rules() -> Rules:
    return collect_rules()
