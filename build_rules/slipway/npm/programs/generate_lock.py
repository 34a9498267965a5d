"""Writes the fetch lock of an npm lockfile: fetches new tarballs once, and records hash and size.

Lines of the old fetch lock that still match are kept without fetching. The last line of the output is a
JSON object with the counts.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from typing import Collection, List, Optional, Sequence

from slipway.archive import package_tarball
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.json_text import loads
from slipway.core.printable import one_line
from slipway.fetch import integrity as sri
from slipway.fetch.download import Content, ContentCache, Stored, count, disk_problem
from slipway.fetch.faults import FetchFailed
from slipway.fetch.jobs import Job, run_jobs
from slipway.fetch.program import write_text
from slipway.fetch.settings import Settings
from slipway.npm.lockfiles import fetch_lock as fetch_locks
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import scope_registries
from slipway.npm.lockfiles.fetch_lock import FetchEntry, FetchLock, MissingTarball
from slipway.npm.lockfiles.package import Tarball
from slipway.npm_registry.lazy_client import LazyClient
from slipway.step.interface import Output, StepProgram
from slipway.step.network_frame import run


@dataclass(frozen=True)
class Arguments:
    """`lock` and `old` are the files of the npm lockfile and of the old fetch lock; `path` is the name of
    the npm lockfile in messages."""

    lock: str
    path: str
    old: str


PROGRAM = StepProgram(__name__, Arguments)
LOCK = Output(fetch_locks.FILE_NAME)


def generate_lock(arguments: Arguments, settings: Settings) -> None:
    path = arguments.path
    lock = npm_lock.parse(_read(arguments.lock), path)
    command = fetch_locks.renew_command(path)
    before = _read_old(arguments.old, command)
    known = before.index()
    binaries = [one for one in before.binaries if fetch_locks.is_wanted(one, lock)]
    try:
        cache = ContentCache(settings.cache_dir)
    except OSError as error:
        raise disk_problem(error, settings.cache_dir) from None
    entries: List[FetchEntry] = []
    new: List[Tarball] = []
    for tarball in lock.tarballs:
        entry = known.get(fetch_locks.key(tarball.name, tarball.version, tarball.integrity))
        if entry:
            entries.append(entry)
        else:
            new.append(tarball)
    client = LazyClient(settings, cache, [(one.name, one.version) for one in new])
    for doubt in _doubts_of_scopes(client, lock.text, new):
        _tell(doubt)
    results = _fetch(new, lock.optional_tarballs, cache, client, command)
    missing = [tarball for tarball, found in zip(new, results) if found is None]
    fetched = [(tarball, found) for tarball, found in zip(new, results) if found is not None]
    stored = [found for _, found in fetched]
    new = [tarball for tarball, _ in fetched]
    _check_names(new, stored, cache, path)
    entries.extend(_entry(tarball, found) for tarball, found in fetched)
    write_text(
        LOCK.path, fetch_locks.render(entries, command, binaries, map(_missing_line, missing))
    )
    _tell_weak(new, path)
    _tell_missing(missing, path)
    print(json.dumps(dict(count(stored), kept=len(entries) - len(new)), sort_keys=True))


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _read_old(old: str, command: str) -> FetchLock:
    """The old fetch lock; empty if the file is damaged, so that all tarballs are fetched again."""
    nothing = FetchLock(old, ())
    if not old or not os.path.exists(old):
        return nothing
    try:
        return fetch_locks.parse(_read(old), old, command)
    except SlipwayError as error:
        _tell(f"{error.what}: fetching all tarballs again")
        return nothing


def _fetch(
    tarballs: Sequence[Tarball],
    optional: Collection[Tarball],
    cache: ContentCache,
    client: LazyClient,
    command: str,
) -> List[Optional[Stored]]:
    """The tarballs in order; None for optional ones that the registry does not have, as in npm."""

    def fetch_if_there(tarball: Tarball) -> Optional[Stored]:
        try:
            return fetch(tarball)
        except FetchFailed as failed:
            if failed.fault.absent and tarball in optional:
                return None
            raise

    def fetch(tarball: Tarball) -> Stored:
        content = Content(hashes=sri.parse(tarball.integrity) if tarball.integrity else ())
        found = cache.find(content.hashes)
        if found:
            return found
        if tarball.url:
            subject = f"{tarball.name}@{tarball.version}"
            return client.get().fetch_address(subject, tarball.url, content, command)
        return client.get().fetch(tarball.name, tarball.version, content, command)

    jobs: List[Job[Optional[Stored]]] = [
        Job(f"{one.name}@{one.version}", 0, functools.partial(fetch_if_there, one))
        for one in tarballs
    ]
    return run_jobs(jobs)


def _entry(tarball: Tarball, stored: Stored) -> FetchEntry:
    return FetchEntry(
        tarball.name,
        tarball.version,
        str(stored.sha512),
        stored.sha256,
        stored.size,
        _weaker_hash(tarball),
    )


def _weaker_hash(tarball: Tarball) -> Optional[str]:
    """The hash in the npm lockfile, if there is one and it is weaker than sha512."""
    locked = sri.parse(tarball.integrity)[0] if tarball.integrity else None
    return str(locked) if locked and locked.algorithm != "sha512" else None


def _check_names(
    tarballs: Sequence[Tarball], stored: Sequence[Stored], cache: ContentCache, path: str
) -> None:
    """Raises SlipwayErrors if a tarball that no hash identifies is not the package of its entry.

    A registry that answers with another file, such as a login page, would otherwise be pinned.
    """
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        for tarball, found in zip(tarballs, stored):
            if tarball.integrity:
                continue
            label = f"{tarball.name}@{tarball.version}"
            place = os.path.join(folder, "package.tgz")
            try:
                cache.copy_to(Content(sha256=found.sha256, size=found.size), place)
                manifest = loads(package_tarball.manifest(place, label))
                other = _label_of(manifest)
            except SlipwayError as error:
                faults.append(f"{label}: the registry returned no npm package: {error.what}")
                continue
            except ValueError:
                faults.append(f"{label}: its package.json is not JSON")
                continue
            if other != label.split("+", 1)[0]:
                faults.append(f"{label}: the registry returned {one_line(other)}")
    if faults:
        raise SlipwayErrors(
            f'cannot pin entries of the lockfile "{path}" that have no integrity',
            faults,
            where=path,
            next="check the registry: npm config get registry\n"
            "or restore the lockfile from version control",
        )


def _label_of(manifest: object) -> str:
    """`name@version` of a package.json, without the build metadata that registries drop."""
    fields = manifest if isinstance(manifest, dict) else {}
    version = str(fields.get("version")).strip().lstrip("v=").strip().split("+", 1)[0]
    return f"{fields.get('name')}@{version}"


def _tell_weak(new: Sequence[Tarball], lock_path: str) -> None:
    """Reports tarballs with a weak hash, or without one, when their line is written; from then on sha512 counts."""
    unlocked = [tarball for tarball in new if not tarball.integrity]
    weak = [tarball for tarball in new if _weaker_hash(tarball)]
    for tarballs, what in ((unlocked, "no integrity"), (weak, "only a weaker hash than sha512")):
        if tarballs:
            _tell(
                f"{lock_path} has {what} for these packages; the fetch lock now pins them with "
                f"sha512 ({len(tarballs)}):"
            )
            for tarball in tarballs:
                _tell(f"  {tarball.name}@{tarball.version}")


def _missing_line(tarball: Tarball) -> MissingTarball:
    integrity = str(sri.parse(tarball.integrity)[0]) if tarball.integrity else ""
    return MissingTarball(tarball.name, tarball.version, integrity)


def _tell_missing(missing: Sequence[Tarball], lock_path: str) -> None:
    if missing:
        _tell(
            f"the registry does not have these optional packages of {lock_path}; as npm does, an "
            f"install skips them ({len(missing)}):"
        )
        for tarball in missing:
            _tell(f"  {tarball.name}@{tarball.version}")


def _tell(line: str) -> None:
    """Prints one line; a lockfile may contain control characters in names of hosts and packages."""
    print(one_line(line), file=sys.stderr)


def _doubts_of_scopes(client: LazyClient, lock_text: str, tarballs: Sequence[Tarball]) -> List[str]:
    """Warnings about scoped packages that would come from another registry than before."""
    if not any(one.name.startswith("@") for one in tarballs):
        return []
    config = client.config()
    return scope_registries.doubts(
        lock_text,
        tarballs,
        lambda scope: config.usable(f"{scope}:registry") is not None,
        config.registry_for,
    )


if __name__ == "__main__":
    run(PROGRAM, generate_lock)
