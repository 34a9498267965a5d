"""Files from outside, named by a lock and fetched only when a step that misses needs them.

The digest is computed from the lock's SHA-256 and sizes, so a step's key is known, and a cached
result is found, without a single download.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from pants.engine.env_vars import CompleteEnvironmentVars
from pants.engine.fs import (
    CreateDigest,
    Digest,
    FileContent,
    FileDigest,
    FileEntry,
    MergeDigests,
)
from pants.engine.process import FallibleProcessResult, Process, ProcessCacheScope
from pants.engine.rules import Get, _uncacheable_rule, collect_rules, rule
from pants.util.frozendict import FrozenDict
from pants.util.logging import LogLevel

from build_rules.lib.errors import SlipwayError
from build_rules.subsystem import Slipway
from build_rules.toolchain.host_settings import HostSettings
from build_rules.toolchain.programs import Program, ProgramRequest, path_of

_FETCH = "build_rules.sandbox.fetch_files"


@dataclass(frozen=True)
class LockedFile:
    """One file of a lock: where it goes, what it must be, and how `fetch_files` asks for it.

    `size` is in bytes; `source` holds the request's own keys, such as kind, name and version.
    """

    path: str
    sha256: str
    size: int
    source: FrozenDict[str, str]

    def request(self) -> Dict[str, Any]:
        return {**self.source, "path": self.path, "sha256": self.sha256, "size": self.size}


@dataclass(frozen=True)
class LockedFiles:
    """Files that one step takes; `project` is the folder whose `.npmrc` counts, if any."""

    files: Tuple[LockedFile, ...] = ()
    project: Optional[str] = None


@dataclass(frozen=True)
class LockedFilesDigest:
    digest: Digest


@dataclass(frozen=True)
class FetchRequest:
    files: LockedFiles


@dataclass(frozen=True)
class FetchedFiles:
    digest: Digest


@rule
async def digest_of_locked_files(locked: LockedFiles) -> LockedFilesDigest:
    digest = await Get(
        Digest,
        CreateDigest(
            [FileEntry(file.path, FileDigest(file.sha256, file.size)) for file in locked.files]
        ),
    )
    return LockedFilesDigest(digest)


class SettingsPipe:
    """Hands settings that may hold secrets to one process: through a pipe, never through a file.

    The process reads the path like a file; what it does not read is gone.
    """

    def __init__(self, folder: str, settings: Dict[str, Any]) -> None:
        self.path = os.path.join(folder, f"pipe-{os.getpid()}-{threading.get_ident()}-{id(self)}")
        os.makedirs(folder, exist_ok=True)
        os.mkfifo(self.path, 0o600)
        self._text = json.dumps(settings).encode()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            with open(self.path, "wb") as pipe:
                pipe.write(self._text)
        except OSError:
            pass  # the process ended without reading to the end; its own message says why

    def close(self) -> None:
        # A process that never opened the pipe leaves the thread waiting for a reader: be one.
        if self._thread.is_alive():
            os.close(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK))
        self._thread.join(timeout=5)
        os.unlink(self.path)


# Uncacheable: it must run again in a session that finds the files missing again.
@_uncacheable_rule(desc="Fetch locked files")
async def fetch_locked_files(
    request: FetchRequest,
    settings: HostSettings,
    slipway: Slipway,
    environment: CompleteEnvironmentVars,
) -> FetchedFiles:
    files = request.files.files
    program = await Get(Program, ProgramRequest((_FETCH,)))
    wanted = json.dumps([file.request() for file in files]).encode()
    asked = await Get(Digest, CreateDigest([FileContent("request.json", wanted)]))
    inputs = await Get(Digest, MergeDigests([program.digest, asked]))
    settings.ensure_written()
    pipe = SettingsPipe(
        settings.folder, fetch_settings(settings, slipway, environment, request.files.project)
    )
    try:
        result = await Get(
            FallibleProcessResult,
            Process(
                [
                    "host/python",
                    "-I",
                    "-S",
                    "-B",
                    path_of(_FETCH),
                    "--request=request.json",
                    f"--settings={pipe.path}",
                    "--out=out",
                ],
                input_digest=inputs,
                append_only_caches={settings.cache_name: "host"},
                output_directories=["out"],
                description=f"Fetch {_describe(files)}",
                level=LogLevel.INFO,
                cache_scope=ProcessCacheScope.PER_SESSION,
            ),
        )
    finally:
        pipe.close()
    if result.exit_code != 0:
        raise SlipwayError(result.stderr.decode(errors="replace").strip())
    return FetchedFiles(result.output_digest)


def fetch_settings(
    settings: HostSettings,
    slipway: Slipway,
    environment: CompleteEnvironmentVars,
    project: Optional[str],
) -> Dict[str, Any]:
    """What `fetch_files` and `write_fetch_lock` read: the user's own client configuration."""
    npmrc = os.path.join(settings.build_root, project, ".npmrc") if project is not None else None
    return {
        "registry": slipway.npm_registry,
        "project_npmrc": npmrc,
        "home": environment.get("HOME", ""),
        "env": dict(environment),
        "cache_dir": os.path.join(settings.named_caches, "slipway_downloads"),
        "debian_mirror": slipway.debian_mirror,
    }


def _describe(files: Tuple[LockedFile, ...]) -> str:
    size = sum(file.size for file in files) / 1e6
    kinds: List[str] = sorted({file.source.get("kind", "") for file in files})
    noun = {"npm": "npm tarballs", "debian": "Debian packages"}.get(kinds[0], "files")
    if len(files) == 1:
        return f"{os.path.basename(files[0].source.get('name', files[0].path))} ({size:.1f} MB)"
    return f"{len(files)} {noun if len(kinds) == 1 else 'files'} ({size:.1f} MB)"


def rules():
    return collect_rules()
