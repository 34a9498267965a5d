"""The fetch lock: what an npm lock lacks to fetch its tarballs by SHA-256 and size.

It stands beside the npm lock, names no host, and has one tarball a line, sorted, so that git merges
two branches' changes as it merges any list:

    name version sha512-… sha256 size [the integrity that the npm lock has, where it is weaker]

Below stand the binaries that install scripts may take, with the variable that says where from:

    + name version sha256 size variable path
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

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
# It goes into an address: no empty part, none that is `..`, nothing that an address gives a meaning.
_PATH = re.compile(r"^(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9@._~+%=,-]+(/[A-Za-z0-9@._~+%=,-]+)*\Z")
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")


@dataclass(frozen=True, order=True)
class FetchEntry:
    """One tarball: what npm calls it, and what it takes to fetch it."""

    name: str
    version: str
    integrity: str  # always sha512
    sha256: str
    size: int
    locked_integrity: Optional[str] = field(default=None, compare=False)

    @property
    def accepts(self) -> Tuple[str, ...]:
        """The integrities under which an npm lock may name this content."""
        return (self.integrity,) + ((self.locked_integrity,) if self.locked_integrity else ())

    def line(self) -> str:
        words = [self.name, self.version, self.integrity, self.sha256, str(self.size)]
        return " ".join(words + ([self.locked_integrity] if self.locked_integrity else []))


@dataclass(frozen=True, order=True)
class PinnedBinary:
    """A file that the install script of a package takes, at `path` below the address that its
    environment has as `variable`."""

    name: str
    version: str
    sha256: str
    size: int
    variable: str
    path: str

    def line(self) -> str:
        words = (self.name, self.version, self.sha256, self.size, self.variable, self.path)
        return "+ " + " ".join(map(str, words))


@dataclass(frozen=True)
class FetchLock:
    """A fetch lock that was read."""

    path: str
    entries: Tuple[FetchEntry, ...]
    binaries: Tuple[PinnedBinary, ...] = ()

    def pinned(self, name: str, version: Optional[str]) -> Tuple[PinnedBinary, ...]:
        return tuple(one for one in self.binaries if (one.name, one.version) == (name, version))

    def index(self) -> Dict[Tuple[str, str, str], FetchEntry]:
        return {
            (entry.name, entry.version, one): entry
            for entry in self.entries
            for one in entry.accepts
        }


@dataclass(frozen=True, order=True)
class CachedTarball:
    """A tarball at its place in npm's cache, and what to fetch it by.

    Several tarballs can have one content and thus one place: the content must be that of each.
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
    """What to do about a fetch lock at `path` whose hashes are wrong: renewing it keeps lines."""
    folder = path.rpartition("/")[0]
    return (
        f"git checkout -- {path}\n"
        f"or, to ask the registry anew: rm {path}; {renew_command(f'{folder}/package-lock.json')}"
    )


def key(name: str, version: str, integrity: str) -> Tuple[str, str, str]:
    """What a tarball is known by: the first of its strongest hashes decides."""
    return name, version, str(sri.parse(integrity)[0])


def render(
    entries: Iterable[FetchEntry], command: str, binaries: Iterable[PinnedBinary] = ()
) -> str:
    """The text of a fetch lock."""
    head = (
        f"# slipway fetch lock {FORMAT}: name version integrity sha256 size. "
        f"Renew it with: {command}\n"
    )
    lines = [entry.line() for entry in sorted(set(entries))]
    lines += [binary.line() for binary in sorted(set(binaries))]
    return head + "".join(line + "\n" for line in lines)


def parse(text: str, path: str, command: str) -> FetchLock:
    """The fetch lock in `text`; `command` is what renews it."""
    faults: List[str] = []
    entries: Dict[Tuple[str, str, str], FetchEntry] = {}
    binaries: Dict[Tuple[str, str, str], PinnedBinary] = {}
    lines = text.split("\n")
    _check_head(lines[0], path, command)
    if lines[-1] != "":
        faults.append(f"{path}:{len(lines)}: the last line is cut off")
    for number, line in enumerate(lines[1:], 2):
        if not line or line.startswith("#"):
            continue
        entry = _binary(line) if line.startswith("+") else _entry(line)
        if isinstance(entry, str):
            faults.append(f"{path}:{number}: {entry}")
            continue
        if isinstance(entry, PinnedBinary):
            if binaries.setdefault((entry.name, entry.version, entry.path), entry) != entry:
                faults.append(f"{path}:{number}: {entry.path} stands here twice")
            continue
        known = entries.setdefault((entry.name, entry.version, entry.integrity), entry)
        if (known, known.locked_integrity) != (entry, entry.locked_integrity):
            faults.append(
                f"{path}:{number}: {entry.name}@{entry.version} stands here twice, with "
                "different values"
            )
    faults.extend(_contradictions(path, entries.values()))
    if faults:
        raise SlipwayErrors(f'the fetch lock "{path}" is damaged', faults, where=path, next=command)
    return FetchLock(
        path=path,
        entries=tuple(sorted(entries.values())),
        binaries=tuple(sorted(binaries.values())),
    )


def check(lock: NpmLock, fetch_lock: FetchLock) -> List[str]:
    """Why the fetch lock does not fit the npm lock, one reason a tarball; empty if it does."""
    reasons: List[str] = []
    index = fetch_lock.index()
    by_name: Dict[Tuple[str, str], List[FetchEntry]] = {}
    for entry in fetch_lock.entries:
        by_name.setdefault((entry.name, entry.version), []).append(entry)
    wanted = {}
    for one in lock.tarballs:
        wanted[key(one.name, one.version, one.integrity)] = one
    used = set()
    for identity, tarball in wanted.items():
        found = index.get(identity)
        others = by_name.get(identity[:2], [])
        if found:
            used.add(found)
        elif others:
            used.update(others)
            reasons.append(
                f"{tarball.name}@{tarball.version}: {lock.path} has {identity[2]}, "
                f"{fetch_lock.path} has {others[0].integrity}"
            )
        else:
            reasons.append(f"{tarball.name}@{tarball.version}: missing from {fetch_lock.path}")
    for entry in fetch_lock.entries:
        if entry not in used:
            reasons.append(f"{entry.name}@{entry.version}: no longer in {lock.path}")
    reasons.extend(
        f"{one.name}@{one.version}, {one.path}: no longer in {lock.path}"
        for one in fetch_lock.binaries
        if not is_wanted(one, lock)
    )
    return reasons


def is_wanted(binary: PinnedBinary, lock: NpmLock) -> bool:
    return any((one.name, one.version) == (binary.name, binary.version) for one in lock.packages)


def require_fresh(lock: NpmLock, fetch_lock: FetchLock) -> None:
    """Raises with all the reasons and the command if the fetch lock is stale."""
    reasons = check(lock, fetch_lock)
    if reasons:
        raise SlipwayErrors(
            f'the fetch lock "{fetch_lock.path}" does not fit "{lock.path}"',
            reasons,
            where=fetch_lock.path,
            next=renew_command(lock.path),
        )


def require_known_variables(fetch_lock: FetchLock, more: Mapping[str, Iterable[str]]) -> None:
    """Raises for binaries whose address would come by a variable that no table knows for their
    package; `more` is the user's table."""
    unknown = [
        one for one in fetch_lock.binaries if not mirrors.is_known(one.name, one.variable, more)
    ]
    if unknown:
        first = unknown[0]
        table = f"{{'{first.name}': ['{first.variable}']}}"
        raise SlipwayErrors(
            "binaries are pinned by variables that are not known to name a mirror of theirs",
            [f"{one.name}@{one.version}, {one.path}: {one.variable}" for one in unknown],
            where=fetch_lock.path,
            next="remove their lines, or if the package does take its binary by this variable: "
            f'--install-scripts-variables="{table}"',
        )


def cached_tarballs(lock: NpmLock, fetch_lock: FetchLock, npm_major: int) -> List[CachedTarball]:
    """Every tarball of the lock at the place where an offline npm looks for it, sorted by place."""
    cached: List[CachedTarball] = []
    index = fetch_lock.index()
    for tarball in lock.tarballs:
        entry = index[key(tarball.name, tarball.version, tarball.integrity)]
        path = installed_hash(tarball, entry, npm_major).cache_path()
        cached.append(CachedTarball(path, tarball, entry.integrity, entry.sha256, entry.size))
    return sorted(cached)


def installed_hash(tarball: Tarball, entry: FetchEntry, npm_major: int) -> sri.Hash:
    """The hash under which npm is told of a content.

    npm 6 writes the integrity into the package.json that it installs, so there the lock's own one
    stays; npm 7 and later get the sha512 even where the lock knows only a weaker one.
    """
    return sri.parse(tarball.integrity if npm_major < 7 else entry.integrity)[0]


def _contradictions(path: str, entries: Iterable[FetchEntry]) -> Iterator[str]:
    """Entries that share one hash of their content, and differ in another."""
    first: Dict[Tuple[str, str], Tuple[object, FetchEntry]] = {}
    for entry in entries:
        for fact, value in _facts(entry):
            known, other = first.setdefault(fact, (value, entry))
            if known != value:
                yield (
                    f"{path}: {entry.name}@{entry.version} and {other.name}@{other.version} share "
                    "one hash of their content, but differ in another hash or in size"
                )
                break


def _facts(entry: FetchEntry) -> Iterator[Tuple[Tuple[str, str], object]]:
    """What follows from each hash of a content: a hash and an algorithm, with the one value."""
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
        f'"{path}" does not begin as a fetch lock of format {FORMAT}',
        where=f"{path}:1",
        found=line[:120] or "nothing",
        next=command,
    )


def _binary(line: str) -> Union[PinnedBinary, str]:
    """A pinned binary, or what is wrong with its line."""
    words = line.split(" ")
    if len(words) != 7:
        return f"{len(words)} words, not 7"
    _, name, version, sha256, size, variable, path = words
    if not spec.is_valid_name(name):
        return f'"{name}" is no name that npm allows'
    for value, pattern, what in (
        (version, _VERSION, "version"),
        (sha256, _SHA256, "SHA-256 in hexadecimal"),
        (size, _SIZE, "size"),
        (variable, _VARIABLE, "name of a variable"),
        (path, _PATH, "path below an address"),
    ):
        if not pattern.match(value):
            return f'"{value}" is no {what}'
    return PinnedBinary(name, version, sha256, int(size), variable, path)


def _entry(line: str) -> Union[FetchEntry, str]:  # noqa: PLR0911
    """An entry, or what is wrong with its line."""
    if line.startswith(_CONFLICT):
        return "a merge conflict is not resolved"
    words = line.split(" ")
    if len(words) not in (5, 6):
        return f"{len(words)} words, not 5 or 6"
    name, version, integrity, sha256, size = words[:5]
    if not spec.is_valid_name(name):
        return f'"{name}" is no name that npm allows'
    if not _VERSION.match(version):
        return f'"{version}" is no version'
    for word in [integrity] + words[5:]:
        try:
            hashes = sri.parse(word)
        except ValueError as error:
            return str(error)
        strong = hashes[0].algorithm == "sha512"
        if word is integrity and (not strong or str(hashes[0]) != word):
            return f'"{word}" is no sha512 integrity'
        if word is not integrity and strong:
            # It would stand in for the content that package-lock.json names.
            return (
                f'"{word}" stands last, where only a hash weaker than sha512 may stand: of '
                f"{name}@{version}, package-lock.json names the content itself"
            )
    if not _SHA256.match(sha256):
        return f'"{sha256}" is no SHA-256 in hexadecimal'
    if not _SIZE.match(size):
        return f'"{size}" is no size'
    locked = words[5] if len(words) == 6 else None
    return FetchEntry(name, version, integrity, sha256, int(size), locked)
