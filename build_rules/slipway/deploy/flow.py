"""Deploy, rollback and releases: three sequences of steps over the hosts of a deployment.

deploy    look, plan, begin, ship, publish the static files; switch and prune in batches
rollback  look, choose, begin; switch and prune in batches
releases  look

Before the first switch, more failed hosts than `max_unhealthy` end the deploy, and no host has changed
what it serves. After it, each host ends with the old or the new release, and `max_unhealthy` decides
whether the next batch starts.
"""

from __future__ import annotations

import datetime
import getpass
import os
import resource
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterable, List, Optional, Sequence, Set, Tuple

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.deploy import static_files, static_keep
from slipway.deploy.children import Children, Interrupted
from slipway.deploy.deployment import Deployment
from slipway.deploy.host import Connect, Host, HostFailed, HostState
from slipway.deploy.shipped_release import ShippedRelease

MOST_STARTS = 20
"""Connections that start at once.

With the default MaxStartups (10:30:100), sshd drops some new connections while more than ten have not
yet logged in; `Host` retries those.
"""

_DESCRIPTORS_OF_A_HOST = 4  # two pipes, the standard error of ssh, and one while it starts
_OTHER_DESCRIPTORS = 100
MACHINE = "x86_64"
Tell = Callable[[str, str], None]
"""Takes a progress line and the name of its host, or an empty name."""


class Coordinator:
    """Runs one deployment; `tell` receives the progress lines."""

    def __init__(self, deployment: Deployment, connect: Connect, tell: Tell) -> None:
        self.deployment = deployment
        self.children = Children()
        self.hosts = [Host(name, connect, self.children) for name in deployment.hosts]
        self.tell = tell
        self.by = _who()
        self.at = _now()

    # --- The three commands.

    def deploy(self, release: ShippedRelease, *, only_plan: bool = False) -> None:
        self._check_release(release)
        self._look()
        self._on_all("plan", lambda host: self._plan(host, release))
        if only_plan:
            return
        self._stop_beyond_budget()
        self._on_all("begin", lambda host: host.begin(self.by))
        self._on_all("configure", lambda host: host.configure(self.deployment, self.by, self.at))
        # `begin` completed what an earlier deploy left half-way, so the first plan may be outdated.
        self._on_all("plan", lambda host: self._plan(host, release))
        self._stop_beyond_budget()
        facts = (
            f"digest={release.digest} version={release.version} by={self.by.replace(' ', '-')} "
            f"at={self.at}"
        )
        self._on_all("ship", lambda host: host.ship(release, self.at, facts))
        self._stop_beyond_budget()
        static_files.publish(self.deployment, release, self.at, self.tell, self.children)
        self._switch_all(lambda host: host.plan.id if host.plan else "")
        if not any(host.failed for host in self.hosts):
            static_files.remove_outdated(
                self.deployment, self.at, self._kept(), self.tell, self.children
            )

    def rollback(self, to: Optional[str] = None) -> None:
        self._look()
        self._stop_beyond_budget()
        key = self._choose(to)
        for host in self.hosts:
            # Set now, so that the outcome names the target of hosts that fail in a later step, too.
            host.target = _id_of(host, key) if host.state else ""
        self._on_all("begin", lambda host: host.begin(self.by))
        self._on_all("configure", lambda host: host.configure(self.deployment, self.by, self.at))
        self._on_all("verify", lambda host: host.verify(_id_of(host, key)))
        self._stop_beyond_budget()
        self._switch_all(lambda host: _id_of(host, key), goes_back=True)

    def releases(self) -> None:
        self._look()

    def end(self) -> None:
        """Ends the run from a signal handler; hosts finish a switch that they have started."""
        self.children.end()

    # --- The steps.

    def _check_release(self, release: ShippedRelease) -> None:
        wanted = self.deployment.server_env
        if release.server_env != wanted:
            raise SlipwayError(
                "the release and the deployment have different values of server_env",
                where="the field server_env",
                found=f'release: "{release.server_env}", deployment: "{wanted}"',
                next=f'deploy a release that was built with server_env="{wanted}"',
            )
        if self.deployment.health.url and not release.has_node:
            raise SlipwayError(
                "the health check by URL needs Node.js, and the release has another runtime",
                where="the field health",
                found=f"{self.deployment.health.url}, and a release without node_runtime/bin/node",
                next='remove "url" and write a script "health" in package.json, which succeeds if the '
                "application is healthy",
            )
        for path in self.deployment.shared:
            files = [file for file in release.file_bytes if f"{file}/".startswith(f"{path}/")]
            if files:
                raise SlipwayError(
                    f'the release contains files at the shared path "{path}"',
                    where="the field shared",
                    found=files[0],
                    next="share a folder that the release does not contain",
                )

    def _look(self) -> None:
        _allow_descriptors(len(self.hosts))
        self._on_all("look", lambda host: host.look())

    def _plan(self, host: Host, release: ShippedRelease) -> None:
        state = host.state
        assert state is not None
        _check_host(state, release)
        host.make_plan(release, self.at)

    def _switch_all(self, target: Callable[[Host], str], *, goes_back: bool = False) -> None:
        self._local(self.deployment.hooks.before_local, "before_local")
        by_name = {host.name: host for host in self.hosts}
        for batch in self.deployment.batches():
            self._stop_beyond_budget()
            hosts = [by_name[name] for name in batch]
            self._on_all(
                "switch",
                lambda host: host.switch(
                    target(host),
                    self._longest_switch(),
                    self.deployment.boot,
                    goes_back=goes_back,
                    leaving=_left(host) if goes_back else "",
                ),
                hosts,
            )
            self._on_all("prune", lambda host: host.prune(self.deployment.keep), hosts)
        self._stop_beyond_budget()
        self._local(self.deployment.hooks.after_local, "after_local")

    def _longest_switch(self) -> float:
        """The longest time of a switch in seconds: forward and back, each limit used up."""
        deployment, health = self.deployment, self.deployment.health
        checks = (health.retries + 1) * (health.timeout + health.interval + 10) + health.hold
        scripts = deployment.start_timeout + deployment.stop_timeout
        return 2 * (scripts + checks + 2 * deployment.hooks.timeout + 60)

    def _choose(self, to: Optional[str]) -> str:
        """The key of the release to roll back to; every host that answers must have it."""
        states = [host.state for host in self.hosts if host.state is not None]
        if to is not None:
            keys = {
                release.key
                for state in states
                for release in state.releases
                if to in (release.id, release.facts.get("version"), release.facts.get("digest"))
            }
            if len(keys) != 1:
                raise SlipwayError(
                    f'"{to}" matches {len(keys)} releases on the hosts',
                    found=", ".join(sorted(_names(states))) or "no releases",
                    next="pass one of these ids with --release=",
                )
            key = keys.pop()
        else:
            key = _last_healthy_everywhere(states)
        missing = [
            host.name
            for host in self.hosts
            if host.state is not None and host.state.find(key) is None
        ]
        if missing:
            raise SlipwayErrors(
                "some hosts do not have the release to roll back to",
                missing,
                next="deploy that release; a deploy ships what a host lacks",
            )
        return key

    def _kept(self) -> Set[str]:
        """The digests of all releases that the hosts had at the last `look`."""
        states = [host.state for host in self.hosts if host.state is not None]
        return {release.key for state in states for release in state.releases}

    def _stop_beyond_budget(self) -> None:
        failed = [host for host in self.hosts if host.failed]
        if len(failed) > self.deployment.max_unhealthy:
            raise SlipwayErrors(
                f"{len(failed)} of {len(self.hosts)} hosts failed and max_unhealthy is "
                f"{self.deployment.max_unhealthy}: Slipway changes no further host",
                [f"{host.name}: {host.status}: {host.text}" for host in failed],
                next="correct the causes, then run the command again; a deploy can be repeated at any time",
            )

    def _local(self, command: str, name: str) -> None:
        if not command:
            return
        self.tell(f"hook {name}", "")
        limit = self.deployment.hooks.timeout
        # Standard output is only for the outcome, which programs read: the hook prints to 2.
        sys.stderr.flush()
        try:
            done = self.children.run(["/bin/sh", "-c", command], limit, stdout=2)
            status = f"exit status {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            status = f"timed out after {limit} seconds"
        if status:
            raise SlipwayError(
                f"the hook {name} failed",
                found=status,
                next="correct the command in the field hooks",
            )

    def _on_all(
        self, what: str, step: Callable[[Host], None], hosts: Optional[Sequence[Host]] = None
    ) -> None:
        """Runs the step on all hosts that have not failed, MOST_STARTS of them at a time."""
        chosen = [host for host in hosts or self.hosts if not host.failed]

        def run(host: Host) -> None:
            host.step = what
            began = time.monotonic()
            host.attempt(lambda: step(host))
            status = host.status if host.failed or host.was_switched else "done"
            words = f", {host.text}" if host.text else ""
            self.tell(f"{what}: {status} after {time.monotonic() - began:.1f} s{words}", host.name)

        if self.children.ended.is_set():
            raise Interrupted
        with ThreadPoolExecutor(max_workers=MOST_STARTS) as pool:
            list(pool.map(run, chosen))
        if self.children.ended.is_set():
            raise Interrupted

    def close(self) -> None:
        with ThreadPoolExecutor(max_workers=MOST_STARTS) as pool:
            list(pool.map(lambda host: host.close(), self.hosts))


def _who() -> str:
    """`user@machine`, shown to people on the hosts; without the characters that `as_line` refuses."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # the user id has no entry in passwd
        name = str(os.getuid())
    who = f"{name}@{socket.gethostname()}"
    return "".join(
        character if character.isprintable() and character not in '"\\' else "/"
        for character in who
    )


def _allow_descriptors(hosts: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hosts * _DESCRIPTORS_OF_A_HOST + _OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise SlipwayError(
            f"{hosts} hosts need {wanted} open files, and the limit of this process is {hard}",
            where="ulimit -Hn",
            found=str(hard),
            next="raise the limit, or deploy to fewer hosts at a time",
        )
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime(static_keep.STAMP)


def _check_host(state: HostState, release: ShippedRelease) -> None:
    machine, libc = state.about["machine"], state.about["libc"]
    if machine != MACHINE:
        raise HostFailed(
            f"the host's architecture is {machine}, the release is built for {MACHINE}"
        )
    wanted = release.facts.get("abi", {}).get("highest", {}).get("GLIBC", "")
    version = libc.split()[-1] if libc else ""
    is_too_old = bool(_numbers(version)) and _numbers(version) < _numbers(wanted)
    if wanted and (is_too_old or "musl" in libc):
        raise HostFailed(f"the host's C library is {libc}, the release needs {wanted}")
    if state.about["in_the_way"]:
        raise HostFailed(f"{state.about['in_the_way']} is not a symlink: move it elsewhere")
    if state.about["writable"] != "yes":
        raise HostFailed(f"user {state.about['user']} cannot write to the path of the deployment")


def _numbers(version: str) -> Tuple[int, ...]:
    parts = version.rpartition("_")[2].split(".")
    return (
        tuple(int(part) for part in parts)
        if all(part.isascii() and part.isdigit() for part in parts)
        else ()
    )


def _id_of(host: Host, key: str) -> str:
    release = host.state.find(key) if host.state else None
    if release is None:
        raise HostFailed("the release is no longer on the host")
    return release.id


def _left(host: Host) -> str:
    """The id of the release that a rollback leaves, if it was ever healthy; else empty."""
    assert host.state is not None
    current = host.state.current
    return current.id if current and current.is_target else ""


def _names(states: Iterable[HostState]) -> List[str]:
    return [release.id for state in states for release in state.releases if not release.failed]


def _last_healthy_everywhere(states: Sequence[HostState]) -> str:
    """The key of the release that served on all hosts last, except the one that all serve now.

    Compares the order in which each host served releases, because clocks of hosts may differ.
    """
    targets = [
        # If a host has two releases with one key, the one that served last counts.
        {release.key: at for at, release in reversed(list(enumerate(state.targets())))}
        for state in states
    ]
    served = {state.current.key if state.current else "" for state in states}
    everywhere = [
        key
        for key in (targets[0] if targets else ())
        if all(key in positions for positions in targets) and served != {key}
    ]
    if not everywhere:
        raise SlipwayError(
            "no earlier release was healthy on all hosts",
            found=", ".join(sorted(set(_names(states)))) or "no releases",
            next="pass one of these ids with --release=, or deploy the release that you want",
        )
    return min(everywhere, key=lambda key: (sum(positions[key] for positions in targets), key))
