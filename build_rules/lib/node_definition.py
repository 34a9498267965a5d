"""A Node definition as data: where one version comes from, pinned by hash, and which npm fits it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from build_rules.lib import integrity as sri
from build_rules.lib.errors import SlipwayError, SlipwayErrors, nearest

_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_HTTP = re.compile(r"https?://[^\s]+")


@dataclass(frozen=True)
class PinnedArchive:
    """One archive: from the npm registry (`package` and `version`) or from the address `url`."""

    package: Optional[str]
    version: str
    url: Optional[str]
    integrity: Optional[str]
    sha256: str
    size: int


@dataclass(frozen=True)
class NodeDefinition:
    path: str
    version: str
    binaries: Tuple[Tuple[str, PinnedArchive], ...]
    npm_default: str
    npms: Tuple[Tuple[str, PinnedArchive], ...]

    def binary(self, platform: str) -> PinnedArchive:
        """The prebuilt archive for `platform`, such as `linux-x64`."""
        found = dict(self.binaries).get(platform)
        if found is None:
            raise SlipwayError(
                f'Node.js {self.version} has no binary for the platform "{platform}"',
                where=f"{self.path}: binary",
                found=", ".join(name for name, _ in self.binaries) or "none",
                next=f"add a table [binary.{platform}] with package or url, sha256 and size",
            )
        return found

    def npm(self, version: Optional[str]) -> Tuple[str, PinnedArchive]:
        """The npm of that version, by default the definition's own choice."""
        wanted = version or self.npm_default
        known = dict(self.npms)
        if wanted not in known:
            raise SlipwayError(
                f'the definition of Node.js {self.version} pins no npm "{wanted}"',
                where=f"{self.path}: npm",
                found=", ".join(known) or "none",
                next=_or_add(nearest(wanted, known), f'add a table [npm.versions."{wanted}"]'),
            )
        return wanted, known[wanted]


def _or_add(names: List[str], otherwise: str) -> str:
    return f"did you mean {', '.join(names)}? Or {otherwise}" if names else otherwise


def read(document: Mapping[str, Any], path: str, version: str) -> NodeDefinition:
    """Checks a parsed definition and gives it as data; all faults are told at once."""
    faults: List[str] = []
    _check_keys(document, {"version", "binary", "npm"}, "", faults)
    if document.get("version") != version:
        faults.append(f"version: is {document.get('version')!r}, but the target says {version!r}")
    binaries = _archives(document.get("binary"), "binary", version, faults)
    npm = document.get("npm")
    if not isinstance(npm, dict):
        faults.append("npm: a table with `default` and `versions` is missing")
        npm = {}
    _check_keys(npm, {"default", "versions"}, "npm.", faults)
    npms = _archives(npm.get("versions"), "npm.versions", None, faults)
    default = npm.get("default")
    if not isinstance(default, str) or default not in dict(npms):
        faults.append(f"npm.default: {default!r} is none of npm.versions")
    if faults:
        raise SlipwayErrors(
            f'the Node definition "{path}" is not usable',
            faults,
            where=path,
            next="correct the definition; docs/reference/node-definition.md lists its keys",
        )
    assert isinstance(default, str)
    return NodeDefinition(path, version, tuple(binaries), default, tuple(npms))


def _check_keys(table: Mapping[str, Any], known: set[str], at: str, faults: List[str]) -> None:
    for key in table:
        if key not in known:
            guess = nearest(key, known, 1)
            hint = f"; did you mean `{guess[0]}`?" if guess else ""
            faults.append(f"{at}{key}: there is no such key{hint}")


def _archives(
    tables: Any, at: str, version: Optional[str], faults: List[str]
) -> List[Tuple[str, PinnedArchive]]:
    if not isinstance(tables, dict) or not tables:
        faults.append(f"{at}: at least one table [{at}.…] is needed")
        return []
    found = []
    for name, table in tables.items():
        archive = _archive(table, f"{at}.{name}", version or name, faults)
        if archive is not None:
            found.append((str(name), archive))
    return found


def _archive(table: Any, at: str, version: str, faults: List[str]) -> Optional[PinnedArchive]:
    if not isinstance(table, dict):
        faults.append(f"{at}: must be a table")
        return None
    before = len(faults)
    _check_keys(table, {"package", "url", "integrity", "sha256", "size"}, f"{at}.", faults)
    if not _VERSION.fullmatch(version):
        faults.append(f"{at}: {version!r} is no version such as 16.20.2")
    values: Dict[str, Any] = dict(table)
    package, url = values.get("package"), values.get("url")
    if (package is None) == (url is None):
        faults.append(f"{at}: one of `package` (of the npm registry) and `url` is needed")
    if url is not None and not (isinstance(url, str) and _HTTP.fullmatch(url)):
        faults.append(f"{at}.url: {url!r} is no http or https address")
    sha256, size = values.get("sha256"), values.get("size")
    if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        faults.append(f"{at}.sha256: {sha256!r} is no SHA-256; an archive without one is refused")
    if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
        faults.append(f"{at}.size: {size!r} is no size in bytes")
    if package is not None:
        try:
            sri.parse(str(values.get("integrity", "")))
        except ValueError as error:
            faults.append(f"{at}.integrity: {error}")
    if len(faults) > before:
        return None
    assert isinstance(sha256, str)
    assert isinstance(size, int)
    return PinnedArchive(package, version, url, values.get("integrity"), sha256, size)
