"""The fetch lock: the SHA-256 and size of each tarball, which an npm lockfile does not have.

The file is beside the npm lockfile and names no host. It has one tarball per line, sorted, so that git
can merge the changes of two branches:

    name version sha512-… sha256 size [the integrity in the npm lockfile, if it is weaker]

Binaries for install scripts follow, with the variable that names their mirror:

    + name version sha256 size variable path

Then the optional packages that the registry does not have. npm skips them, and so does an install:

    - name version [the integrity in the npm lockfile]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

from slipway.core import line_endings
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.fetch import integrity as sri
from slipway.npm.lockfiles import spec
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import Tarball
from slipway.npm.scripts import mirrors

FILE_NAME = "npm-fetch.lock"
FORMAT = 1

_SHA256 = re.compile(r"^[0-9a-f]{64}\Z")
_SIZE = re.compile(r"^[1-9][0-9]{0,11}\Z")
_VERSION = re.compile(r"^[0-9A-Za-z][0-9A-Za-z.+\-]*\Z")
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]*\Z")
# The path becomes part of a URL: no empty part, no `..`, no character with a meaning in URLs.
_PATH = re.compile(r"^(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9@._~+%=,-]+(/[A-Za-z0-9@._~+%=,-]+)*\Z")
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")


@dataclass(frozen=True, order=True)
class FetchEntry:
    """One tarball: its name and version in npm, and the hashes and size to fetch it."""

    name: str
    version: str
    integrity: str  # always sha512
    sha256: str
    size: int
    locked_integrity: Optional[str] = field(default=None, compare=False)

    @property
    def accepts(self) -> Tuple[str, ...]:
        """The integrity values by which an npm lockfile may name this content."""
        return (self.integrity,) + ((self.locked_integrity,) if self.locked_integrity else ())

    def line(self) -> str:
        words = [self.name, self.version, self.integrity, self.sha256, str(self.size)]
        return " ".join(words + ([self.locked_integrity] if self.locked_integrity else []))


@dataclass(frozen=True, order=True)
class PinnedBinary:
    """A file that a package's install script downloads.

    `path` is relative to the URL in the environment variable `variable`.
    """

    name: str
    version: str
    sha256: str
    size: int
    variable: str
    path: str

    def line(self) -> str:
        words = (self.name, self.version, self.sha256, self.size, self.variable, self.path)
        return "+ " + " ".join(map(str, words))


@dataclass(frozen=True, order=True)
class MissingTarball:
    """An optional package that the registry does not have; `integrity` is empty without one in the lockfile."""

    name: str
    version: str
    integrity: str = ""

    @property
    def key(self) -> Tuple[str, str, str]:
        return key(self.name, self.version, self.integrity)

    def line(self) -> str:
        return " ".join(("-", self.name, self.version, self.integrity)).rstrip()


@dataclass(frozen=True)
class FetchLock:
    """The content of a fetch lock."""

    path: str
    entries: Tuple[FetchEntry, ...]
    binaries: Tuple[PinnedBinary, ...] = ()
    missing: Tuple[MissingTarball, ...] = ()

    def lacks(self, tarball: Tarball) -> bool:
        """Whether the registry did not have this tarball."""
        wanted = key(tarball.name, tarball.version, tarball.integrity)
        return any(missing.key == wanted for missing in self.missing)

    def pinned(self, name: str, version: Optional[str]) -> Tuple[PinnedBinary, ...]:
        return tuple(
            binary for binary in self.binaries if (binary.name, binary.version) == (name, version)
        )

    def index(self) -> Dict[Tuple[str, str, str], FetchEntry]:
        """The entries by `key`. An entry without integrity in the npm lockfile is found by name and version,
        unless the fetch lock has several contents for them."""
        by_name: Dict[Tuple[str, str, str], List[FetchEntry]] = {}
        for entry in self.entries:
            by_name.setdefault((entry.name, entry.version, ""), []).append(entry)
        return {
            **{name: entries[0] for name, entries in by_name.items() if len(entries) == 1},
            **{
                (entry.name, entry.version, integrity): entry
                for entry in self.entries
                for integrity in entry.accepts
            },
        }


@dataclass(frozen=True, order=True)
class CachedTarball:
    """A tarball, its path in npm's cache, and the hashes and size to fetch it.

    Several tarballs can have the same content and thus the same path. The content must then match the
    hashes of each of them.
    """

    path: str
    tarball: Tarball
    integrity: str  # always sha512
    sha256: str
    size: int


def renew_command(lock_path: str) -> str:
    """The command that renews the fetch lock beside `lock_path`."""
    return f"./pants generate-lockfiles --resolve=npm:{lock_path.rpartition('/')[0]}"


def start_over(path: str) -> str:
    """What to do about wrong hashes in a fetch lock; renewing alone would keep those lines."""
    folder = path.rpartition("/")[0]
    return (
        f"git checkout -- {path}\n"
        f"or, to fetch all hashes again: rm {path}; {renew_command(f'{folder}/package-lock.json')}"
    )


def key(name: str, version: str, integrity: str) -> Tuple[str, str, str]:
    """The key of a tarball; the first of its strongest hashes counts, if it has an integrity."""
    return name, version, str(sri.parse(integrity)[0]) if integrity else ""


def render(
    entries: Iterable[FetchEntry],
    command: str,
    binaries: Iterable[PinnedBinary] = (),
    missing: Iterable[MissingTarball] = (),
) -> str:
    """The text of a fetch lock."""
    head = (
        f"# slipway fetch lock {FORMAT}: name version integrity sha256 size. "
        f"Renew it with: {command}\n"
    )
    lines = [entry.line() for entry in sorted(set(entries))]
    lines += [binary.line() for binary in sorted(set(binaries))]
    lines += [tarball.line() for tarball in sorted(set(missing))]
    return head + "".join(line + "\n" for line in lines)


def parse(text: str, path: str, command: str) -> FetchLock:
    """Reads the fetch lock in `text`; `command` renews it and goes into messages."""
    faults: List[str] = []
    entries: Dict[Tuple[str, str, str], FetchEntry] = {}
    binaries: Dict[Tuple[str, str, str], PinnedBinary] = {}
    missing: Dict[MissingTarball, None] = {}
    line_endings.require_lf(text, path)
    lines = text.split("\n")
    _check_head(lines[0], path, command)
    if lines[-1] != "":
        faults.append(f"{path}:{len(lines)}: the last line is incomplete")
    for number, line in enumerate(lines[1:], 2):
        if not line or line.startswith("#"):
            continue
        entry = _READERS.get(line[0], _entry)(line)
        if isinstance(entry, str):
            faults.append(f"{path}:{number}: {entry}")
            continue
        if isinstance(entry, PinnedBinary):
            if binaries.setdefault((entry.name, entry.version, entry.path), entry) != entry:
                faults.append(f"{path}:{number}: duplicate entry for {entry.path}")
            continue
        if isinstance(entry, MissingTarball):
            missing[entry] = None
            continue
        known = entries.setdefault((entry.name, entry.version, entry.integrity), entry)
        if (known, known.locked_integrity) != (entry, entry.locked_integrity):
            faults.append(
                f"{path}:{number}: duplicate entry for {entry.name}@{entry.version} with "
                "different values"
            )
    faults.extend(_contradictions(path, entries.values()))
    if faults:
        raise SlipwayErrors(f'the fetch lock "{path}" is damaged', faults, where=path, next=command)
    return FetchLock(
        path=path,
        entries=tuple(sorted(entries.values())),
        binaries=tuple(sorted(binaries.values())),
        missing=tuple(sorted(missing)),
    )


def check(lock: NpmLock, fetch_lock: FetchLock) -> List[str]:
    """Why the fetch lock does not match the npm lockfile, one reason per tarball."""
    reasons: List[str] = []
    index = fetch_lock.index()
    by_name: Dict[Tuple[str, str], List[FetchEntry]] = {}
    for entry in fetch_lock.entries:
        by_name.setdefault((entry.name, entry.version), []).append(entry)
    wanted = {}
    for tarball in lock.tarballs:
        wanted[key(tarball.name, tarball.version, tarball.integrity)] = tarball
    used = set()
    optional = lock.optional_tarballs
    for identity, tarball in wanted.items():
        locked = index.get(identity)
        if fetch_lock.lacks(tarball) and not locked:
            if tarball not in optional:
                reasons.append(
                    f"{tarball.name}@{tarball.version}: not optional in {lock.path}, "
                    f"{fetch_lock.path} has it as missing from the registry"
                )
            continue
        others = by_name.get(identity[:2], [])
        if locked:
            used.add(locked)
        elif others:
            used.update(others)
            reasons.append(
                f"{tarball.name}@{tarball.version}: {lock.path} has "
                f"{identity[2] or 'no integrity'}, {fetch_lock.path} has "
                + " and ".join(entry.integrity for entry in others)
            )
        else:
            reasons.append(f"{tarball.name}@{tarball.version}: missing from {fetch_lock.path}")
    # Earlier versions fetched packages for other systems too.
    foreign = {(tarball.name, tarball.version) for tarball in lock.foreign_tarballs}
    for entry in fetch_lock.entries:
        if entry not in used and (entry.name, entry.version) not in foreign:
            reasons.append(f"{entry.name}@{entry.version}: no longer in {lock.path}")
    reasons.extend(
        f"{missing.name}@{missing.version}: no longer in {lock.path}"
        for missing in fetch_lock.missing
        if (missing.key not in wanted and (missing.name, missing.version) not in foreign)
        or missing.key in index
    )
    reasons.extend(
        f"{binary.name}@{binary.version}, {binary.path}: no longer in {lock.path}"
        for binary in fetch_lock.binaries
        if not is_wanted(binary, lock)
    )
    return reasons


def is_wanted(binary: PinnedBinary, lock: NpmLock) -> bool:
    return any(
        (package.name, package.version) == (binary.name, binary.version)
        for package in lock.packages
    )


def require_fresh(lock: NpmLock, fetch_lock: FetchLock) -> None:
    """Raises SlipwayErrors with all reasons if the fetch lock is out of date."""
    reasons = check(lock, fetch_lock)
    if reasons:
        raise SlipwayErrors(
            f'the fetch lock "{fetch_lock.path}" is out of date: it does not match "{lock.path}"',
            reasons,
            where=fetch_lock.path,
            next=renew_command(lock.path),
        )


def require_known_variables(fetch_lock: FetchLock, more: Mapping[str, Iterable[str]]) -> None:
    """Raises SlipwayErrors for binaries whose variable is in no table for their package.

    `more` is the user's table.
    """
    unknown = [
        binary
        for binary in fetch_lock.binaries
        if not mirrors.is_known(binary.name, binary.variable, more)
    ]
    if unknown:
        first = unknown[0]
        table = f"{{'{first.name}': ['{first.variable}']}}"
        raise SlipwayErrors(
            "pinned binaries use variables that are not known for their packages",
            [
                f"{binary.name}@{binary.version}, {binary.path}: {binary.variable}"
                for binary in unknown
            ],
            where=fetch_lock.path,
            next="remove these lines; or if the package does read its mirror from this variable: "
            f'--install-scripts-variables="{table}"',
        )


def cached_tarballs(lock: NpmLock, fetch_lock: FetchLock, npm_major: int) -> List[CachedTarball]:
    """The tarballs of the lockfile that the registry has, each with its path in the cache of an offline npm, sorted by path."""
    cached: List[CachedTarball] = []
    index = fetch_lock.index()
    for tarball in lock.tarballs:
        if fetch_lock.lacks(tarball):
            continue
        entry = index[key(tarball.name, tarball.version, tarball.integrity)]
        path = installed_hash(tarball, entry, npm_major).cache_path()
        cached.append(CachedTarball(path, tarball, entry.integrity, entry.sha256, entry.size))
    return sorted(cached)


def installed_hash(tarball: Tarball, entry: FetchEntry, npm_major: int) -> sri.Hash:
    """The hash of a tarball in the lockfile that npm reads.

    npm 6 writes the integrity into each package.json that it installs, so it gets the value of the
    original lockfile, if there is one. npm 7 and later get the sha512, even if the original has only a
    weaker hash.
    """
    locked = tarball.integrity if npm_major < 7 else ""
    return sri.parse(locked or entry.integrity)[0]


def _contradictions(path: str, entries: Iterable[FetchEntry]) -> Iterator[str]:
    """Reports entries that have one hash in common and differ in another."""
    first: Dict[Tuple[str, str], Tuple[object, FetchEntry]] = {}
    for entry in entries:
        for fact, value in _facts(entry):
            known, other = first.setdefault(fact, (value, entry))
            if known != value:
                yield (
                    f"{path}: {entry.name}@{entry.version} and {other.name}@{other.version} have "
                    "one hash in common, but differ in another hash or in size"
                )
                break


def _facts(entry: FetchEntry) -> Iterator[Tuple[Tuple[str, str], object]]:
    """What each hash of a content implies: (hash, algorithm) pairs and their only valid value."""
    yield (entry.integrity, "sha256"), (entry.sha256, entry.size)
    yield (entry.sha256, "sha512"), entry.integrity
    for word in entry.accepts[1:]:
        weaker = sri.parse(word)[0]
        yield (entry.integrity, f"locked {weaker.algorithm}"), weaker
        yield (str(weaker), "sha512"), entry.integrity


def _check_head(line: str, path: str, command: str) -> None:
    matched = re.match(r"^# slipway fetch lock ([0-9]+):", line)
    if matched and int(matched.group(1)) == FORMAT:
        return
    raise SlipwayError(
        f'"{path}" is not a fetch lock of format {FORMAT}',
        where=f"{path}:1",
        found=line[:120] or "nothing",
        next=command,
    )


def _binary(line: str) -> Union[PinnedBinary, str]:
    """A pinned binary, or the error in its line."""
    words = line.split(" ")
    if len(words) != 7:
        return f"expected 7 words, found {len(words)}"
    _, name, version, sha256, size, variable, path = words
    if not spec.is_valid_name(name):
        return f'"{name}" is not a valid npm package name'
    for value, pattern, what in (
        (version, _VERSION, "version"),
        (sha256, _SHA256, "hexadecimal SHA-256"),
        (size, _SIZE, "size"),
        (variable, _VARIABLE, "variable name"),
        (path, _PATH, "relative URL path"),
    ):
        if not pattern.match(value):
            return f'"{value}" is not a valid {what}'
    return PinnedBinary(name, version, sha256, int(size), variable, path)


def _missing(line: str) -> Union[MissingTarball, str]:
    """A tarball that the registry does not have, or the error in its line."""
    words = line.split(" ")
    if len(words) not in (3, 4):
        return f"expected 3 or 4 words, found {len(words)}"
    name, version, integrity = [*words[1:], ""][:3]
    if not spec.is_valid_name(name):
        return f'"{name}" is not a valid npm package name'
    if not _VERSION.match(version):
        return f'"{version}" is not a valid version'
    try:
        return MissingTarball(name, version, str(sri.parse(integrity)[0]) if integrity else "")
    except ValueError as error:
        return str(error)


def _entry(line: str) -> Union[FetchEntry, str]:  # noqa: PLR0911
    """An entry, or the error in its line."""
    if line.startswith(_CONFLICT):
        return "unresolved merge conflict"
    words = line.split(" ")
    if len(words) not in (5, 6):
        return f"expected 5 or 6 words, found {len(words)}"
    name, version, integrity, sha256, size = words[:5]
    if not spec.is_valid_name(name):
        return f'"{name}" is not a valid npm package name'
    if not _VERSION.match(version):
        return f'"{version}" is not a valid version'
    for word in [integrity] + words[5:]:
        try:
            hashes = sri.parse(word)
        except ValueError as error:
            return str(error)
        strong = hashes[0].algorithm == "sha512"
        if word is integrity and (not strong or str(hashes[0]) != word):
            return f'"{word}" is not a sha512 integrity'
        if word is not integrity and strong:
            # A sha512 here would replace the content that package-lock.json names.
            return (
                f'the last word "{word}" must be a weaker hash than sha512: package-lock.json '
                f"decides on the content of {name}@{version}"
            )
    if not _SHA256.match(sha256):
        return f'"{sha256}" is not a valid hexadecimal SHA-256'
    if not _SIZE.match(size):
        return f'"{size}" is not a valid size'
    locked = words[5] if len(words) == 6 else None
    return FetchEntry(name, version, integrity, sha256, int(size), locked)


_READERS: Dict[str, Callable[[str], Union[FetchEntry, PinnedBinary, MissingTarball, str]]] = {
    "+": _binary,
    "-": _missing,
}
