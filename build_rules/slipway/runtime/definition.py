"""Reads Node definitions: where a Node.js version comes from, with hashes, and its npm."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from slipway.core.errors import SlipwayError, SlipwayErrors, nearest
from slipway.fetch import integrity as sri
from slipway.runtime.recipe import Recipe

_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_HTTP = re.compile(r"https?://[^\s]+")
_PYTHONS = ("python2.7", "python3")
_TESTS = ("report", "required", "skip")
_SOURCE_KEYS = (
    *("url", "file", "debian", "sha256", "size", "patches", "python", "configure", "make"),
    *("test", "test_targets", "install", "check", "says"),
)


@dataclass(frozen=True)
class PinnedArchive:
    """An archive from the npm registry (`package` and `version`) or from the address `url`."""

    package: Optional[str]
    version: str
    url: Optional[str]
    integrity: Optional[str]
    sha256: str
    size: int


@dataclass(frozen=True)
class SourceBuild(Recipe):
    """How to build a runtime from its source release, an archive of `size` bytes.

    The archive is at the address `url`, in a `file` beside the definition, or at the path `debian`
    of a Debian mirror.
    """

    url: str
    file: str
    debian: str
    size: int


@dataclass(frozen=True)
class NodeDefinition:
    """A definition; with a `source` it has no `binaries`, and need not have an npm."""

    path: str
    version: str
    binaries: Tuple[Tuple[str, PinnedArchive], ...]
    npm_default: str
    npms: Tuple[Tuple[str, PinnedArchive], ...]
    source: Optional[SourceBuild] = None

    def binary(self, platform: str) -> PinnedArchive:
        """The prebuilt archive for `platform`, such as `linux-x64`."""
        archive = dict(self.binaries).get(platform)
        if archive is None:
            raise SlipwayError(
                f'Node.js {self.version} has no binary for the platform "{platform}"',
                where=f"{self.path}: binary",
                found=", ".join(name for name, _ in self.binaries) or "none",
                next=f"add a table [binary.{platform}] with package or url, sha256 and size",
            )
        return archive

    def npm(self, version: Optional[str]) -> Tuple[str, PinnedArchive]:
        """The npm with this version, or the default npm of the definition."""
        wanted = version or self.npm_default
        known = dict(self.npms)
        if wanted not in known:
            raise SlipwayError(
                f'the definition of Node.js {self.version} does not pin npm "{wanted}"',
                where=f"{self.path}: npm",
                found=", ".join(known) or "none",
                next=_or_add(nearest(wanted, known), f'add a table [npm.versions."{wanted}"]'),
            )
        return wanted, known[wanted]


def _or_add(names: List[str], otherwise: str) -> str:
    return f"did you mean {', '.join(names)}? Otherwise, {otherwise}" if names else otherwise


def read(document: Mapping[str, Any], path: str, version: str) -> NodeDefinition:
    """Checks a parsed definition; raises SlipwayErrors with all faults."""
    faults: List[str] = []
    _check_keys(document, {"version", "binary", "source", "npm"}, "", faults)
    if document.get("version") != version:
        faults.append(f"version: is {document.get('version')!r}, but the target says {version!r}")
    source = None
    binaries: List[Tuple[str, PinnedArchive]] = []
    if "source" in document:
        source = _source(document["source"], version, faults)
        if "binary" in document:
            faults.append("binary: not allowed together with source")
    else:
        binaries = _archives(document.get("binary"), "binary", version, faults)
    npm = document.get("npm")
    npms: List[Tuple[str, PinnedArchive]] = []
    default: Any = ""
    if npm is not None or source is None:
        if not isinstance(npm, dict):
            faults.append("npm: a table with `default` and `versions` is missing")
            npm = {}
        _check_keys(npm, {"default", "versions"}, "npm.", faults)
        npms = _archives(npm.get("versions"), "npm.versions", None, faults)
        default = npm.get("default")
        if not isinstance(default, str) or default not in dict(npms):
            faults.append(f"npm.default: {default!r} is not in npm.versions")
    if faults:
        raise SlipwayErrors(
            f'the Node definition "{path}" is not valid',
            faults,
            where=path,
            next="correct the definition; docs/reference/node-definition.md lists its keys",
        )
    assert isinstance(default, str)
    return NodeDefinition(path, version, tuple(binaries), default, tuple(npms), source)


def _check_keys(table: Mapping[str, Any], known: set[str], at: str, faults: List[str]) -> None:
    for key in table:
        if key not in known:
            guess = nearest(key, known, 1)
            hint = f"; did you mean `{guess[0]}`?" if guess else ""
            faults.append(f"{at}{key}: unknown key{hint}")


def _source(table: Any, version: str, faults: List[str]) -> Optional[SourceBuild]:
    if not isinstance(table, dict):
        faults.append("source: must be a table")
        return None
    before = len(faults)
    _check_keys(table, set(_SOURCE_KEYS), "source.", faults)
    texts = {name: table.get(name, "") for name in ("url", "file", "debian", "says")}
    places = [name for name in ("url", "file", "debian") if texts[name]]
    if len(places) != 1:
        faults.append("source: needs exactly one of `url`, `file` and `debian`")
    for name, value in texts.items():
        if not isinstance(value, str):
            faults.append(f"source.{name}: {value!r} is not a string")
    if "url" in places and not _HTTP.fullmatch(str(texts["url"])):
        faults.append(f"source.url: {texts['url']!r} is not an http or https address")
    for path in [texts["file"], *_texts(table, "patches", [], faults)]:
        if path and (str(path).startswith("/") or ".." in str(path).split("/")):
            faults.append(f"source: {path!r} is not below the folder of the definition")
    # A local file is not fetched, so it needs no size.
    sized = table if places != ["file"] else {**table, "size": table.get("size", 1)}
    _check_hash_and_size(sized, "source", faults)
    python = table.get("python", "python3")
    if python not in _PYTHONS:
        faults.append(f"source.python: {python!r} is not one of {', '.join(_PYTHONS)}")
    test = table.get("test", "report")
    if test not in _TESTS:
        faults.append(f"source.test: {test!r} is not one of {', '.join(_TESTS)}")
    lists = {
        "patches": _texts(table, "patches", [], faults),
        "configure": _texts(table, "configure", [], faults),
        "make": _texts(table, "make", [], faults),
        "test_targets": _texts(table, "test_targets", ["test"], faults),
        "install": _texts(table, "install", ["install"], faults),
        "check": _texts(table, "check", ["bin/node", "-v"], faults),
    }
    if len(faults) > before:
        return None
    return SourceBuild(
        url=texts["url"],
        file=texts["file"],
        debian=texts["debian"],
        sha256=table["sha256"],
        size=sized["size"],
        python=python,
        test=test,
        says=texts["says"] or f"v{version}",
        **lists,
    )


def _texts(
    table: Mapping[str, Any], key: str, default: List[str], faults: List[str]
) -> Tuple[str, ...]:
    value = table.get(key, default)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        faults.append(f"source.{key}: {value!r} is not a list of strings")
        return ()
    return tuple(value)


def _check_hash_and_size(table: Mapping[str, Any], at: str, faults: List[str]) -> None:
    sha256, size = table.get("sha256"), table.get("size")
    if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        faults.append(f"{at}.sha256: {sha256!r} is not a SHA-256, which every archive needs")
    if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
        faults.append(f"{at}.size: {size!r} is not a size in bytes")


def _archives(
    tables: Any, at: str, version: Optional[str], faults: List[str]
) -> List[Tuple[str, PinnedArchive]]:
    if not isinstance(tables, dict) or not tables:
        faults.append(f"{at}: needs at least one table [{at}.…]")
        return []
    archives = []
    for name, table in tables.items():
        archive = _archive(table, f"{at}.{name}", version or name, faults)
        if archive is not None:
            archives.append((str(name), archive))
    return archives


def _archive(table: Any, at: str, version: str, faults: List[str]) -> Optional[PinnedArchive]:
    if not isinstance(table, dict):
        faults.append(f"{at}: must be a table")
        return None
    before = len(faults)
    _check_keys(table, {"package", "url", "integrity", "sha256", "size"}, f"{at}.", faults)
    if not _VERSION.fullmatch(version):
        faults.append(f"{at}: {version!r} is not a version such as 16.20.2")
    values: Dict[str, Any] = dict(table)
    package, url = values.get("package"), values.get("url")
    if (package is None) == (url is None):
        faults.append(f"{at}: needs exactly one of `package` (of the npm registry) and `url`")
    if url is not None and not (isinstance(url, str) and _HTTP.fullmatch(url)):
        faults.append(f"{at}.url: {url!r} is not an http or https address")
    _check_hash_and_size(values, at, faults)
    if package is not None:
        try:
            sri.parse(str(values.get("integrity", "")))
        except ValueError as error:
            faults.append(f"{at}.integrity: {error}")
    if len(faults) > before:
        return None
    return PinnedArchive(
        package, version, url, values.get("integrity"), values["sha256"], values["size"]
    )
