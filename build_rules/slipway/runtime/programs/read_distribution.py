"""Takes an archive of Node.js from a distribution folder, if its checksum list is trusted.

A distribution has a folder `v<version>` with archives, `SHASUMS256.txt` and its signature. It is at an
address or in a local folder. Neither its list nor its archive is used before the list is trusted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import List, Optional, Tuple
from urllib.parse import quote

from slipway.archive import package_tarball
from slipway.debian import signature
from slipway.fetch.download import Content, ContentCache, Stored, WrongContent, disk_problem
from slipway.fetch.faults import FetchFailed, FetchFault
from slipway.fetch.jobs import Job, run_jobs
from slipway.fetch.keyring import Keyring, read_key_folder
from slipway.fetch.settings import Settings
from slipway.npm_registry.lazy_client import LazyClient
from slipway.runtime.definitions import needs
from slipway.runtime.definitions.checksums import ChecksumList
from slipway.runtime.definitions.trusted_list import (
    LARGEST,
    FetchedFile,
    TrustedList,
    check_given_hash,
    read_trusted_list,
)
from slipway.step.interface import Output, ReportFile, StepProgram
from slipway.step.network_frame import run

LIST = "SHASUMS256.txt"
_SIGNED, _SIGNATURE = f"{LIST}.asc", f"{LIST}.sig"
_BINARY = "bin/node"
_LARGEST_ARCHIVE = 1 << 29


@dataclass(frozen=True)
class Arguments:
    """`place` is an address or an absolute folder, and `archive` the file name that is wanted.

    `sha256` is the user's hash of the list or of the archive, or empty. `keys` is the folder with the
    keys that may sign, and `verifier` are packages with gpgv, if the machine lacks it.
    """

    place: str
    version: str
    archive: str
    sha256: str
    keys: str
    verifier: Tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The archive: where it is (empty for a local folder), its hash, and why it is trusted."""

    url: str
    sha256: str
    size: int
    needs: Tuple[str, ...]
    reason: str


PROGRAM = StepProgram(__name__, Arguments)
REPORT = ReportFile("distribution.json", Report)
ARCHIVE = Output("archive")


class Place:
    """A distribution; reads files below an address or a folder."""

    def __init__(self, place: str, settings: Settings) -> None:
        self.is_folder = os.path.isabs(place)
        self._place = place.rstrip("/")
        self._settings = settings
        try:
            self.cache = ContentCache(settings.cache_dir)
        except OSError as error:
            raise disk_problem(error, settings.cache_dir) from None
        self._client = LazyClient(settings, self.cache)

    def where(self, name: str) -> str:
        return f"{self._place}/{name if self.is_folder else quote(name)}"

    def store(self, name: str, content: Content) -> Optional[Stored]:
        """Brings a file into the download cache; None if the place does not have it."""
        path = self.where(name)
        if self.is_folder:
            if not os.path.isfile(path):
                return None
            with open(path, "rb") as file:
                return self.cache.store(content, lambda sink: shutil.copyfileobj(file, sink))
        try:
            return self._client.get().fetch_address(
                name, self._settings.mirrored(path), content, "./pants node-definitions --add"
            )
        except FetchFailed as failed:
            if failed.fault.absent:
                return None
            raise

    def read(self, name: str) -> Optional[FetchedFile]:
        """The content of a small file; None if the place does not have it."""
        stored = self.store(name, Content(limit=LARGEST))
        if stored is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, "file")
            self.cache.copy_to(Content(sha256=stored.sha256), copy)
            with open(copy, "rb") as file:
                return FetchedFile(self.where(name), file.read())


def read_distribution(arguments: Arguments, settings: Settings) -> None:
    place = Place(arguments.place, settings)
    with tempfile.TemporaryDirectory() as folder:
        verifier = [shutil.which("gpgv", path=settings.env.get("PATH", "")) or ""]
        if arguments.verifier:
            verifier = list(signature.of_packages(arguments.verifier, folder).command)

        def fetch() -> Tuple[str, Stored, str]:
            return _fetch(arguments, place, verifier if verifier[0] else None)

        ((name, stored, reason),) = run_jobs([Job(arguments.archive, 0, fetch)])
    place.cache.copy_to(Content(sha256=stored.sha256), ARCHIVE.path)
    found = package_tarball.read(ARCHIVE.path, arguments.archive, (_BINARY,)).get(_BINARY)
    needed = needs.of_node(found, arguments.archive, place.where(name))
    url = "" if place.is_folder else place.where(name)
    if not place.is_folder:
        os.unlink(ARCHIVE.path)
    REPORT.write(Report(url, stored.sha256, stored.size, needed, reason))


def _fetch(
    arguments: Arguments, place: Place, gpgv: Optional[List[str]]
) -> Tuple[str, Stored, str]:
    """The name of the archive below the place, the stored archive, and why it is trusted."""
    keyring = read_key_folder(arguments.keys)
    for folder in ("", f"v{arguments.version}/"):
        trusted = _trusted(arguments, place, folder, keyring, gpgv)
        if trusted is None:
            continue
        name = f"{folder}{arguments.archive}"
        expected = trusted.checksums.hash_of(arguments.archive)
        stored = place.store(name, Content(limit=_LARGEST_ARCHIVE))
        if stored is not None and stored.sha256 != expected:
            wrong = WrongContent("SHA-256", expected, stored.sha256)
            raise FetchFailed(
                FetchFault(
                    arguments.archive,
                    f"{place.where(name)} is not the file of the checksum list: {wrong}",
                    "fetch the archive again, or use another server",
                )
            )
        if stored is not None:
            return name, stored, trusted.reason
    raise FetchFailed(
        FetchFault(
            arguments.archive,
            f"{arguments.place} has no {LIST} with this archive",
            "give the folder that has it, or the folder above v<version>: --from=<folder>",
        )
    )


def _trusted(
    arguments: Arguments,
    place: Place,
    folder: str,
    keyring: Keyring,
    gpgv: Optional[List[str]],
) -> Optional[TrustedList]:
    """The checksum list of a folder; None if it has no list."""
    signed, plain = place.read(folder + _SIGNED), place.read(folder + LIST)
    listed = plain or signed
    if listed is None:
        return _by_hash_alone(arguments, place, folder)
    detached = place.read(folder + _SIGNATURE) if signed is None else None
    return read_trusted_list(
        listed,
        (signed or detached) if plain else None,
        keyring,
        gpgv,
        sha256=arguments.sha256 or None,
        archive=arguments.archive,
        # Node's releasers let their keys expire; what they signed before stays valid.
        signed_in_time=True,
    )


def _by_hash_alone(arguments: Arguments, place: Place, folder: str) -> Optional[TrustedList]:
    if not arguments.sha256:
        return None
    sha256 = check_given_hash(arguments.sha256)
    only = ChecksumList(place.where(folder), {arguments.archive: sha256})
    return TrustedList(only, "the user's hash of the archive")


if __name__ == "__main__":
    run(PROGRAM, read_distribution)
