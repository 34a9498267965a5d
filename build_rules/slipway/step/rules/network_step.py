"""Runs steps with network access: programs that fetch locked files, or write locks.

They run on the runner's CPython, outside any root, and read the user's client configuration
(`.npmrc`, apt's sources, proxies). It can contain logins, so it must not be in a cache key, a log
or a file. The settings are therefore passed through a pipe, and these steps are never cached.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Sequence
from urllib.parse import quote

from pants.engine.env_vars import CompleteEnvironmentVars
from pants.engine.fs import CreateDigest, Digest, FileContent, MergeDigests, RemovePrefix
from pants.engine.internals.native_engine import IntrinsicError
from pants.engine.process import FallibleProcessResult, Process, ProcessCacheScope
from pants.engine.rules import Get, MultiGet, _uncacheable_rule, collect_rules
from pants.util.logging import LogLevel

from slipway.core.errors import SlipwayError
from slipway.core.printable import printable
from slipway.core.rules.registration import Rules
from slipway.fetch import configured_address
from slipway.step.interface import ARGUMENTS, OUT, Call
from slipway.step.rules.host_settings import HostSettings
from slipway.step.rules.program import Program, ProgramRequest, command
from slipway.subsystem import InstallScripts, Slipway


@dataclass(frozen=True)
class NetworkStep:
    """A program with its arguments and with network access.

    `project` is the folder whose `.npmrc` is used, relative to the build root.
    """

    call: Call
    inputs: Digest
    description: str = field(compare=False)
    project: Optional[str] = None


@dataclass(frozen=True)
class NetworkStepResult:
    """The outputs of the program, and what it printed."""

    digest: Digest
    stdout: str
    stderr: str


class SettingsPipe:
    """Serves settings once, to the process that opens the pipe as its settings file."""

    def __init__(self, folder: str, settings: Dict[str, Any]) -> None:
        self.path = os.path.join(folder, f"pipe-{os.getpid()}-{id(self)}")
        self._text = json.dumps(settings).encode()
        os.mkfifo(self.path, 0o600)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            with open(self.path, "wb") as pipe:
                pipe.write(self._text)
        except OSError:
            pass  # the process exited before it read everything, with its own error message

    def close(self) -> None:
        # open() for writing waits for a reader. If the process never opened the pipe, this opens it
        # for reading, so that the thread ends.
        if self._thread.is_alive():
            os.close(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK))
        self._thread.join(timeout=5)
        os.unlink(self.path)


# Uncacheable, because the store can lose files between sessions, and they must be fetched again.
@_uncacheable_rule
async def run_network_step(
    step: NetworkStep,
    settings: HostSettings,
    slipway: Slipway,
    install_scripts: InstallScripts,
    environment: CompleteEnvironmentVars,
) -> NetworkStepResult:
    program, arguments = await MultiGet(
        Get(Program, ProgramRequest((step.call.program,))),
        Get(Digest, CreateDigest([FileContent(ARGUMENTS, step.call.arguments.encode())])),
    )
    inputs = await Get(Digest, MergeDigests([program.digest, arguments, step.inputs]))
    settings.ensure_written()
    pipe = SettingsPipe(
        settings.folder, _settings(step, settings, slipway, install_scripts, environment)
    )
    try:
        result = await Get(
            FallibleProcessResult,
            Process(
                (*command("host/python", step.call.program), pipe.path),
                input_digest=inputs,
                append_only_caches={settings.cache_name: "host"},
                output_directories=(OUT,),
                description=step.description,
                level=LogLevel.INFO,
                cache_scope=ProcessCacheScope.PER_SESSION,
            ),
        )
    except IntrinsicError as error:
        raise settings.explained(error) from None
    finally:
        pipe.close()
    if result.exit_code != 0:
        raise SlipwayError(result.stderr.decode(errors="replace").strip())
    return NetworkStepResult(
        await Get(Digest, RemovePrefix(result.output_digest, OUT)),
        result.stdout.decode(errors="replace"),
        printable(result.stderr.decode(errors="replace")),
    )


def _settings(
    step: NetworkStep,
    settings: HostSettings,
    slipway: Slipway,
    install_scripts: InstallScripts,
    environment: CompleteEnvironmentVars,
) -> Dict[str, Any]:
    configured_address.require_all(slipway.mirrors, "[slipway] mirrors")
    configured_address.require_all(install_scripts.mirrors, "[install-scripts] mirrors")
    npmrc = None
    if step.project is not None:
        npmrc = os.path.join(settings.build_root, step.project, ".npmrc")
    return {
        "registry": slipway.npm_registry,
        "project_npmrc": npmrc,
        "home": environment.get("HOME"),
        "env": dict(environment),
        "cache_dir": os.path.join(settings.named_caches, "slipway_downloads"),
        "debian_mirror": slipway.debian_mirror,
        "debian_archives": [
            _archive(text, settings.build_root) for text in slipway.debian_archives
        ],
        "trusted_suites": slipway.debian_trusted,
        "npmrc_variables": slipway.npmrc_variables,
        "mirrors": dict(slipway.mirrors),
        "binary_mirrors": dict(install_scripts.mirrors),
        "pip": _pip(environment),
    }


def _archive(text: str, build_root: str) -> str:
    """The address of an archive of Debian packages; a folder gets an address as well."""
    if "://" not in text:
        folder = os.path.abspath(os.path.join(build_root, os.path.expanduser(text)))
        return f"file://{quote(folder)}"
    if configured_address.parse(text) is None and not text.startswith("file:///"):
        raise SlipwayError(
            "an archive of Debian packages is not an address",
            where="[slipway] debian_archives",
            next=configured_address.ESCAPES,
        )
    return text


def _pip(environment: CompleteEnvironmentVars) -> Sequence[str]:
    """The command that starts pip: the locked one of the runner, or else the user's own."""
    locked = os.path.join(sys.prefix, "pip.whl")
    if os.path.exists(locked):
        return sys.executable, "-I", os.path.join(locked, "pip")
    path = environment.get("PATH", "")
    own = shutil.which("pip3", path=path) or shutil.which("pip", path=path)
    return (own,) if own else ()


def rules() -> Rules:
    return collect_rules()
