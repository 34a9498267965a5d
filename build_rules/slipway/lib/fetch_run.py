"""What the fetching programs share: their settings, many threads, one report of all failures."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.lib import binary_mirrors, npm_config, scope_registries
from slipway.lib.download import Content, ContentCache, Stored
from slipway.lib.http_transport import HttpProblem, Patience, Strict, Transport, usable_address
from slipway.lib.npm_package import Tarball
from slipway.lib.npm_registry import FetchFailed, FetchFault, RegistryClient

# Kept-open connections. More bring nothing, and registries begin to turn them away.
THREADS = 24
_TOLD = 10


@dataclass(frozen=True)
class Settings:
    """What must not be in any cache key, handed over in a file per run.

    `env` holds those of the user's variables that configure fetching; the process itself starts
    with next to none.
    """

    cache_dir: str
    registry: Optional[str] = None
    project_npmrc: Optional[str] = None
    home: Optional[str] = None
    debian_mirror: Optional[str] = None
    trusted_suites: Tuple[str, ...] = ()
    npmrc_variables: Tuple[str, ...] = npm_config.PROJECT_VARIABLES
    mirrors: Mapping[str, str] = field(default_factory=dict)
    binary_mirrors: Mapping[str, str] = field(default_factory=dict)
    renew_command: str = "./pants generate-lockfiles"
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    patience: Patience = Patience()

    def mirrored(self, url: str) -> str:
        """Where `url` is fetched from: `mirrors` maps beginnings of addresses to others."""
        fitting = [one for one in self.mirrors if url.startswith(one)]
        longest = max(fitting, key=len, default="")
        return self.mirrors[longest] + url[len(longest) :] if longest else url


class LazyClient:
    """The registry client, made when the first thread needs it.

    A run that finds everything in its cache asks for no configuration, and so works without one.
    """

    def __init__(
        self, settings: Settings, cache: ContentCache, wanted: Iterable[Tuple[str, str]] = ()
    ) -> None:
        self._settings, self._cache, self._wanted = settings, cache, tuple(wanted)
        self._lock = threading.Lock()
        self._made: Optional[Tuple[RegistryClient, Transport, npm_config.NpmConfig]] = None

    def get(self) -> RegistryClient:
        return self._make()[0]

    def strict_transport(self) -> Transport:
        """With npm's proxies and CAs, for what is no npm registry: npm's `strict-ssl=false` is no
        word on the logins of others."""
        return Transport(Strict(self._make()[2]), self._settings.patience)

    def doubts_of_scopes(self, lock_text: str, tarballs: Sequence[Tarball]) -> List[str]:
        """What speaks against asking for scoped packages where the configuration has them."""
        if not any(one.name.startswith("@") for one in tarballs):
            return []
        config = self._make()[2]
        return scope_registries.doubts(
            lock_text,
            tarballs,
            lambda scope: config.usable(f"{scope}:registry") is not None,
            config.registry_for,
        )

    def fetch_binary(self, package: str, variable: str, path: str, content: Content) -> Stored:
        """A file that the install script of a package takes, from where the user's configuration
        has it.  Of an address that came by a variable, no part gets into a message."""
        subject, base = f"{package}: {path}", self._settings.binary_mirrors.get(package)
        renew = self._settings.renew_command
        if base:
            return self.get().fetch_address(subject, f"{base.rstrip('/')}/{path}", content, renew)
        base = self._value(variable)
        if not base:
            raise FetchFailed(_no_mirror(package, variable, path))
        name = f"<{variable}>"
        url = f"{base.rstrip('/')}/{path}"
        try:
            usable_address(url)
        except HttpProblem:
            raise FetchFailed(
                FetchFault(subject, f"{name} is no http or https address", f"correct {variable}")
            ) from None
        return self.get().fetch_address(subject, url, content, renew, name)

    def _value(self, variable: str) -> Optional[str]:
        if variable.startswith(binary_mirrors.CONFIG_PREFIX):
            key = variable[len(binary_mirrors.CONFIG_PREFIX) :]
            config = self._make()[2]
            setting = config.usable(key) or config.usable(key.replace("_", "-"))
            if setting:
                return setting.value
        return self._settings.env.get(variable)

    def _make(self) -> Tuple[RegistryClient, Transport, npm_config.NpmConfig]:
        with self._lock:
            if self._made is None:
                config = npm_config.load(
                    option_registry=self._settings.registry,
                    project_npmrc=self._settings.project_npmrc,
                    home=self._settings.home,
                    env=self._settings.env,
                    project_variables=self._settings.npmrc_variables,
                )
                transport = Transport(config, self._settings.patience)
                client = RegistryClient(config, transport, self._cache, self._wanted)
                self._made = client, transport, config
            return self._made


def _no_mirror(package: str, variable: str, path: str) -> FetchFault:
    is_config = variable.startswith(binary_mirrors.CONFIG_PREFIX)
    name = variable[len(binary_mirrors.CONFIG_PREFIX) :] if is_config else variable
    line = f"echo '{name}=https://<your mirror>' >> ~/.npmrc"
    return FetchFault(
        f"{package}: {path}",
        "no mirror of its binaries is configured",
        f"{line if is_config else f'export {name}=https://<your mirror>'}\n"
        f'or in pants.toml: [node-mirrors] mirrors = {{"{package}" = "https://<your mirror>"}}',
    )


@dataclass(frozen=True)
class Job:
    """One thing to fetch; `run` does it, by whichever thread is free."""

    subject: str
    size: int
    run: Callable[[], Stored]


def read_settings(path: str) -> Settings:
    """The settings file of a run. The rules write it, so that faults in it are no user's."""
    with open(path, encoding="utf-8") as file:
        raw: Dict[str, Any] = json.load(file)
    raw["patience"] = Patience(**raw.get("patience") or {})
    return Settings(**{name: value for name, value in raw.items() if value is not None})


def run_jobs(jobs: Sequence[Job]) -> List[Stored]:
    """Runs all jobs, and returns their results in order; raises once for all that failed."""
    waiting: queue.SimpleQueue[Optional[int]] = queue.SimpleQueue()
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    # The largest first: nothing large is left to wait for at the end.
    for number in sorted(range(len(jobs)), key=lambda one: (-jobs[one].size, one)):
        waiting.put(number)
    results: Dict[int, Stored] = {}
    faults: Dict[int, FetchFault] = {}
    fatal: List[BaseException] = []

    def work() -> None:
        while not fatal:
            number = waiting.get()
            if number is None:
                return
            try:
                results[number] = jobs[number].run()
            except FetchFailed as failed:
                faults[number] = failed.fault
            except BaseException as error:  # raised again by the main thread
                fatal.append(error)
            done.put(number)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(THREADS, len(jobs)))]
    for thread in threads:
        waiting.put(None)
        thread.start()
    _wait(jobs, done, fatal)
    if fatal:
        raise fatal[0]
    if faults:
        raise report(jobs, faults)
    return [results[number] for number in range(len(jobs))]


def report(jobs: Sequence[Job], faults: Mapping[int, FetchFault]) -> SlipwayErrors:
    """One error for all faults: the first ten, a count, and every way out once."""
    grouped: Dict[Tuple[str, str], List[FetchFault]] = {}
    for number in sorted(faults):
        fault = faults[number]
        name = "" if fault.shared else fault.subject
        # Of a shared reason, only the address differs from file to file.
        key = (name, fault.next if fault.shared else fault.reason)
        grouped.setdefault(key, []).append(fault)
    lines = []
    for group in grouped.values():
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        lines.append(f"{group[0].subject}{more}: {group[0].reason}")
    if len(lines) > _TOLD:
        lines[_TOLD:] = [f"… and {len(lines) - _TOLD} more"]
    ways_out = list(dict.fromkeys(group[0].next for group in grouped.values()))
    return SlipwayErrors(
        f"{len(faults)} of {len(jobs)} files could not be fetched",
        lines,
        next="\n".join(ways_out[:_TOLD]),
    )


def _wait(
    jobs: Sequence[Job],
    done: queue.SimpleQueue[int],
    fatal: Sequence[BaseException],
) -> None:
    finished = 0
    while finished < len(jobs) and not fatal:
        with contextlib.suppress(queue.Empty):
            done.get(timeout=0.2)
            finished += 1


def guarded(run: Callable[[], int]) -> int:
    """Runs a program so that a user's mistake ends in its message, never in a traceback."""
    try:
        return run()
    except SlipwayError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def write_text(path: str, text: str) -> None:
    """Writes a result whole or not at all."""
    partial = f"{path}.partial"
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(partial, path)
