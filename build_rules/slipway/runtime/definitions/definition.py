"""Reads Node definitions: where a Node.js version comes from, with hashes, and its npm."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Tuple

from slipway.core.errors import SlipwayError, SlipwayErrors, nearest
from slipway.fetch import integrity as sri
from slipway.runtime.label import NODE_BIN, label_of
from slipway.runtime.recipe import Recipe

_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", re.ASCII)
_NAME = re.compile(r"(@[a-z0-9._-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_NEED = re.compile(r"[A-Za-z]+_[0-9]+(\.[0-9]+)*|[^/\s]+\.so(\.[0-9.]+)?", re.ASCII)
_HTTP = re.compile(r"https?://[^\s]+")
_BIN = re.compile(r"bin/[A-Za-z0-9._+-]+", re.ASCII)
_PYTHONS = ("python2.7", "python3")
_TESTS = ("report", "required", "skip")
PLACES = ("package", "wheel", "file", "url")
_TOLD = ("built_by", "hash_from", "hash_date")
_ARCHIVE_KEYS = {*PLACES, *_TOLD, "integrity", "sha256", "size", "needs"}
_SOURCE_KEYS = (
    *("url", "file", "debian", "sha256", "size", *_TOLD),
    *("patches", "python", "configure", "make", "test", "test_targets", "install"),
)
_RUNTIME_KEYS = ("bin", "npm", "node", "headers", "check", "says")


@dataclass(frozen=True)
class PinnedArchive:
    """An archive of Node.js or npm; exactly one of the four places is set, and the others are empty.

    `package` is its name in the npm registry, `wheel` its project in the Python index, `file` a path
    relative to the folder of the definition, and `url` an address. `needs` are the newest symbol
    versions that `bin/node` needs, one of each namespace, and its libraries; empty if nobody has
    recorded them. The size 0 is unknown. `hash_from` and `hash_date` tell where the hash comes from, and since when.
    """

    version: str
    sha256: str
    size: int
    package: str = ""
    wheel: str = ""
    file: str = ""
    url: str = ""
    integrity: str = ""
    needs: Tuple[str, ...] = ()
    built_by: str = ""
    hash_from: str = ""
    hash_date: str = ""

    @property
    def place(self) -> str:
        """Which of the four places is set; "" for an archive of a source build."""
        return next((name for name in PLACES if getattr(self, name)), "")


@dataclass(frozen=True)
class Traits:
    """What a runtime is: `bin` is its program, such as `bin/node` or `bin/qjs`.

    With `npm`, it runs npm. With `node`, scripts may call it as `node`. With `headers`, native addons
    can be compiled for it. `check` and `says` are as in Recipe.
    """

    bin: str
    npm: bool
    node: bool
    headers: bool
    check: Tuple[str, ...]
    says: str


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
    """A definition; with a `source` it has no `binaries`.

    Without `npms`, the runtime keeps the npm of its archive. `end_of_life` is a date, or empty if the
    definition does not say it.
    """

    path: str
    version: str
    traits: Traits
    binaries: Tuple[Tuple[str, PinnedArchive], ...]
    npm_default: str
    npms: Tuple[Tuple[str, PinnedArchive], ...]
    source: Optional[SourceBuild] = None
    end_of_life: str = ""

    @property
    def label(self) -> str:
        """Its name in messages."""
        return label_of(self.traits.bin, self.version)

    def binary(self, platform: str) -> PinnedArchive:
        """The prebuilt archive for `platform`, such as `linux-x64`."""
        archive = dict(self.binaries).get(platform)
        if archive is None:
            raise SlipwayError(
                f'{self.label} has no binary for the platform "{platform}"',
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
                f'the definition of {self.label} does not pin npm "{wanted}"',
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
    _check_keys(
        document, {"version", "end_of_life", "runtime", "binary", "source", "npm"}, "", faults
    )
    if document.get("version") != version:
        faults.append(f"version: is {document.get('version')!r}, but the target says {version!r}")
    end_of_life = document.get("end_of_life", "")
    if end_of_life and not (isinstance(end_of_life, str) and _DATE.fullmatch(end_of_life)):
        faults.append(f'end_of_life: {end_of_life!r} is not a date such as "2027-04-30"')
    traits = _traits(document.get("runtime", {}), version, faults)
    source = None
    binaries: List[Tuple[str, PinnedArchive]] = []
    if "source" in document:
        source = _source(document["source"], traits, faults)
        if "binary" in document:
            faults.append("binary: not allowed together with source")
    else:
        binaries = _archives(document.get("binary"), "binary", version, faults)
    npm = document.get("npm")
    npms: List[Tuple[str, PinnedArchive]] = []
    default: Any = ""
    # Distributions of Node.js have an npm; the packages of the npm registry do not.
    brings_npm = source is not None or any(one.file or one.url for _, one in binaries)
    if npm is not None and not traits.npm:
        faults.append("npm: not allowed together with `npm = false` in [runtime]")
    elif npm is not None or (traits.npm and not brings_npm):
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
    return NodeDefinition(
        path, version, traits, tuple(binaries), default, tuple(npms), source, end_of_life
    )


def _check_keys(table: Mapping[str, Any], known: set[str], at: str, faults: List[str]) -> None:
    for key in table:
        if key not in known:
            guess = nearest(key, known, 1)
            hint = f"; did you mean `{guess[0]}`?" if guess else ""
            faults.append(f"{at}{key}: unknown key{hint}")


def node_traits(version: str) -> Traits:
    """The traits of a Node.js, which a definition without [runtime] has."""
    return Traits(NODE_BIN, True, True, True, (NODE_BIN, "-v"), f"v{version}")


def _traits(table: Any, version: str, faults: List[str]) -> Traits:
    node = node_traits(version)
    if not isinstance(table, dict):
        faults.append("runtime: must be a table")
        return node
    _check_keys(table, set(_RUNTIME_KEYS), "runtime.", faults)
    program = table.get("bin", node.bin)
    if not (isinstance(program, str) and _BIN.fullmatch(program)):
        faults.append(f'runtime.bin: {program!r} is not a program such as "bin/node"')
    npm = table.get("npm", True)
    called_node = table.get("node", npm)
    headers = table.get("headers", npm)
    for name, value in (("npm", npm), ("node", called_node), ("headers", headers)):
        if not isinstance(value, bool):
            faults.append(f"runtime.{name}: {value!r} is neither true nor false")
    check = _texts(table, "check", [program, "-v"], "runtime", faults)
    if not check:
        faults.append("runtime.check: names no program")
    says = table.get("says", node.says)
    if not isinstance(says, str):
        faults.append(f"runtime.says: {says!r} is not a string")
    if npm is True and called_node is False:
        faults.append("runtime.node: not allowed to be false with npm, which calls `node`")
    return Traits(program, bool(npm), bool(called_node), bool(headers), check, str(says))


def _source(table: Any, traits: Traits, faults: List[str]) -> Optional[SourceBuild]:
    if not isinstance(table, dict):
        faults.append("source: must be a table")
        return None
    before = len(faults)
    _check_keys(table, set(_SOURCE_KEYS), "source.", faults)
    texts = {name: table.get(name, "") for name in ("url", "file", "debian")}
    places = [name for name, value in texts.items() if value]
    if len(places) != 1:
        faults.append("source: needs exactly one of `url`, `file` and `debian`")
    for name, value in texts.items():
        if not isinstance(value, str):
            faults.append(f"source.{name}: {value!r} is not a string")
    if "url" in places and not _HTTP.fullmatch(str(texts["url"])):
        faults.append(f"source.url: {texts['url']!r} is not an http or https address")
    for path in [texts["file"], *_texts(table, "patches", [], "source", faults)]:
        if path and (str(path).startswith("/") or ".." in str(path).split("/")):
            faults.append(f"source: {path!r} is not below the folder of the definition")
    _check_hash_and_size(table, "source", faults, places)
    python = table.get("python", "python3")
    if python not in _PYTHONS:
        faults.append(f"source.python: {python!r} is not one of {', '.join(_PYTHONS)}")
    test = table.get("test", "report")
    if test not in _TESTS:
        faults.append(f"source.test: {test!r} is not one of {', '.join(_TESTS)}")
    lists = {
        "patches": _texts(table, "patches", [], "source", faults),
        "configure": _texts(table, "configure", [], "source", faults),
        "make": _texts(table, "make", [], "source", faults),
        "test_targets": _texts(table, "test_targets", ["test"], "source", faults),
        "install": _texts(table, "install", ["install"], "source", faults),
    }
    if len(faults) > before:
        return None
    return SourceBuild(
        url=texts["url"],
        file=texts["file"],
        debian=texts["debian"],
        sha256=table["sha256"],
        size=table.get("size", 0),
        python=python,
        test=test,
        check=traits.check,
        says=traits.says,
        **lists,
    )


def _texts(
    table: Mapping[str, Any], key: str, default: List[str], at: str, faults: List[str]
) -> Tuple[str, ...]:
    value = table.get(key, default)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        faults.append(f"{at}.{key}: {value!r} is not a list of strings")
        return ()
    return tuple(value)


def _check_hash_and_size(
    table: Mapping[str, Any], at: str, faults: List[str], places: List[str]
) -> None:
    sha256 = table.get("sha256")
    # Definitions of other tools have no sizes. Slipway fetches such an archive to learn its size.
    size = table.get("size", 1 if set(places) <= {"url", "file"} else None)
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
    _check_keys(table, _ARCHIVE_KEYS, f"{at}.", faults)
    if not _VERSION.fullmatch(version):
        faults.append(f"{at}: {version!r} is not a version such as 16.20.2")
    places = [name for name in PLACES if name in table]
    if len(places) != 1:
        faults.append(
            f"{at}: needs exactly one of `package` (of the npm registry), `wheel` (of the Python "
            "index), `file` (beside the definition) and `url`"
        )
    for name in places:
        _check_place(name, table[name], at, faults)
    if "wheel" in places and at.startswith("npm."):
        faults.append(f"{at}.wheel: the Python index has no npm; name a `package`")
    _check_hash_and_size(table, at, faults, places)
    if "package" in places:
        try:
            sri.parse(str(table.get("integrity", "")))
        except ValueError as error:
            faults.append(f"{at}.integrity: {error}")
    told = {name: table.get(name, "") for name in _TOLD}
    for name, value in told.items():
        if not isinstance(value, str) or not value.isprintable():
            faults.append(f"{at}.{name}: {value!r} is not a line of text")
    if told["hash_date"] and not _DATE.fullmatch(str(told["hash_date"])):
        faults.append(f'{at}.hash_date: {told["hash_date"]!r} is not a date such as "2026-11-27"')
    needs = table.get("needs", [])
    if not isinstance(needs, list) or not all(
        isinstance(need, str) and _NEED.fullmatch(need) for need in needs
    ):
        faults.append(f"{at}.needs: {needs!r} is not a list such as ['GLIBC_2.28', 'libc.so.6']")
    if len(faults) > before:
        return None
    return PinnedArchive(
        version,
        table["sha256"],
        table.get("size", 0),
        **{name: table.get(name, "") for name in (*PLACES, "integrity", *_TOLD)},
        needs=tuple(needs),
    )


def _check_place(name: str, value: Any, at: str, faults: List[str]) -> None:
    if name == "url":
        if not (isinstance(value, str) and _HTTP.fullmatch(value)):
            faults.append(f"{at}.url: {value!r} is not an http or https address")
    elif name == "file":
        parts = str(value).split("/")
        if not isinstance(value, str) or not value or parts[0] == "" or ".." in parts:
            faults.append(f"{at}.file: {value!r} is not below the folder of the definition")
    elif not (isinstance(value, str) and _NAME.fullmatch(value)):
        faults.append(f"{at}.{name}: {value!r} is not the name of a package")
