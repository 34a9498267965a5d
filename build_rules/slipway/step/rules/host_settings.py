"""Passes settings of this machine and this run to steps, without changing their cache keys.

The cache key of a process has its argv, environment and inputs, but neither the name nor the
content of its named caches. So the runner's interpreter and the settings are in a named cache.
Its name is computed from its content, so that workspaces with different settings use different
folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Dict, Tuple, Union

from pants.base.build_environment import get_buildroot
from pants.engine.env_vars import CompleteEnvironmentVars
from pants.engine.internals.native_engine import IntrinsicError
from pants.engine.internals.session import SessionValues
from pants.engine.rules import Get, collect_rules, rule
from pants.option.global_options import GlobalOptions

from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.isolation.cgroup_places import machine_memory
from slipway.isolation.resource_limits import INODES, MEMORY, PROCESSES, SPACE, read_limits
from slipway.subsystem import Isolator, Slipway

_PREFIX = "slipway_host_"
_DOCKER = Isolator.DOCKER.value
# The docker client needs these to find the user's engine: a context, an address, a key, ssh.
_DOCKER_VARIABLES = (
    *("PATH", "HOME", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK"),
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
)
_UNUSED_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class DockerClient:
    """`settings` is JSON: program and environment of the client, or null without a client."""

    settings: str


@dataclass(frozen=True)
class HostSettings:
    """The named cache `cache_name` in `folder`, with `python` and `settings.json`."""

    cache_name: str
    folder: str
    named_caches: str
    build_root: str
    python: str
    text: str
    disks: Tuple[str, ...]

    def isolator(self) -> str:
        """The isolator of the last step; empty if no step has run with these settings."""
        try:
            with open(os.path.join(self.folder, "isolator"), encoding="utf-8") as file:
                return file.read()
        except OSError:
            return ""

    def explained(self, error: IntrinsicError) -> Exception:
        """The error, or a SlipwayError if a disk is full."""
        lines = str(error).strip().splitlines()
        # Pants is written in Rust, whose errors end with the number of errno: 28 is ENOSPC.
        if not lines or "os error 28" not in lines[-1]:
            return error
        return SlipwayError(
            "no space left on a disk that Pants uses",
            found=lines[-1],
            next=f"df -h {' '.join(shlex.quote(disk) for disk in self.disks)}",
        )

    def ensure_written(self) -> None:
        """Creates the folder if it is missing: a user can delete named caches while Pants runs."""
        settings = os.path.join(self.folder, "settings.json")
        if os.path.exists(settings) and os.path.exists(os.path.join(self.folder, "python")):
            os.utime(settings)
            return
        os.makedirs(self.folder, exist_ok=True)
        # Several steps or Pants processes can run this at the same time, so files are renamed.
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.folder) as new:
            os.symlink(self.python, os.path.join(new, "python"))
            _write(self.text, os.path.join(new, "settings.json"))
            for name in ("python", "settings.json"):
                os.replace(os.path.join(new, name), os.path.join(self.folder, name))
        self._remove_unused()

    def _remove_unused(self) -> None:
        for name in os.listdir(self.named_caches):
            settings = os.path.join(self.named_caches, name, "settings.json")
            if not name.startswith(_PREFIX):
                continue
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                if time.time() - os.stat(settings).st_mtime > _UNUSED_SECONDS:
                    for file in ("settings.json", "python", "isolator"):
                        os.unlink(os.path.join(self.named_caches, name, file))


def _write(text: str, path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


@rule
async def find_docker_client(session: SessionValues) -> DockerClient:
    env = session[CompleteEnvironmentVars].get_subset(_DOCKER_VARIABLES)
    program = shutil.which("docker", path=env.get("PATH", ""))
    return DockerClient(json.dumps({"program": program, "env": dict(env)}) if program else "null")


@rule
async def find_host_settings(slipway: Slipway, global_options: GlobalOptions) -> HostSettings:
    python = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    isolators = slipway.isolator.names
    docker = await Get(DockerClient) if _DOCKER in isolators else DockerClient("null")
    limits: Dict[str, Union[str, int]] = {
        MEMORY: slipway.step_memory_limit,
        PROCESSES: slipway.step_process_limit,
        SPACE: slipway.step_space_limit,
        INODES: slipway.step_inode_limit,
    }
    # A step reads the limits again, on its machine. Reading them here reports a bad value at once.
    read_limits(limits, machine_memory())
    text = json.dumps(
        {
            "time_limit": slipway.step_time_limit,
            "limits": limits,
            "isolators": isolators,
            "docker": json.loads(docker.settings),
        },
        sort_keys=True,
    )
    # Pants accepts only lower-case letters, digits and "_" in names of named caches.
    digest = hashlib.sha256(f"{python}\n{text}".encode()).digest()
    name = _PREFIX + "".join(chr(ord("a") + byte % 26) for byte in digest[:16])
    named_caches = str(global_options.named_caches_dir)
    return HostSettings(
        cache_name=name,
        folder=os.path.join(named_caches, name),
        named_caches=named_caches,
        build_root=get_buildroot(),
        python=python,
        text=text,
        disks=(
            global_options.local_store_dir,
            global_options.local_execution_root_dir,
            named_caches,
        ),
    )


def rules() -> Rules:
    return collect_rules()
