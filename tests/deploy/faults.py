"""Faults struck from outside at every moment of a deploy, and what each leaves on the host.

    with farm_of(8) as farm:
        outcomes = Matrix(farm, folder, "7", {("linked", "power cut"): 20}).run()
    print(text_table.render(rows(outcomes)))

A deploy runs as a process of its own against one host.  When the host's journal shows the wanted
state, the fault is struck, a random part of the state's usual length later; the state that counts is
the one that the journal shows then.  The host is left alone until nothing is under way there, and is
held against what was promised.  Then the next deploy must work with no manual step.  The product
knows nothing of all this: its releases are slow to stop and to start, so that there is time to strike.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from tests.deploy.fleet import TOP
from tests.deploy.hosts import Host, HostFarm
from tests.deploy.sites import snapshot
from tests.e2e import harness
from tests.places import started
from tests.unit.deploy.tiny_release import RUNS, STOPS, write_release

PROGRAM = started("slipway.deploy.programs.coordinator")
VERSIONS = ("1.0.0", "1.1.0", "1.2.0", "1.3.0")
BAD = "6.6.6"  # never healthy
# Folders on a host that are not Slipway's.
FOREIGN = (
    f"{TOP}/releases/20240101120000",
    f"{TOP}/releases/manual-backup",
    f"{TOP}/notes",
    "/home/app/other",
)
LOCK_FREE_WITHIN = 10.0  # seconds
SETTLED_WITHIN = 30.0
WRONG = "stopped or mixed"
ATTEMPTS = 8  # for each strike that is wanted: some states last a few milliseconds

# A state, the line of the journal that begins it, and about how many seconds it lasts here.
STATES: Dict[str, Tuple[str, float]] = {
    "looking": ("", 0.4),
    "staging": ("", 1.0),
    "staged": (r"staged ", 0.6),
    "stopping": (r"switch from .*: begin", 0.6),
    "stopped": (r"stopped ", 0.004),
    "linked": (r"linked ", 0.6),
    "started": (r"started ", 1.2),
    "served": (r"switch to .*: end, healthy", 0.1),
    "going back": (r"back from .*: begin", 1.2),
    "recovering": (r"recover: ", 0.1),
}
FAULTS = (
    *("coordinator killed", "ssh killed", "agent killed", "power cut", "link cut"),
    *("disk full", "inodes gone"),
)
_LASTING: Dict[str, Callable[[Host], None]] = {
    "disk full": Host.fill_disk,
    "inodes gone": Host.use_up_inodes,
    "link cut": Host.cut,
}
Cell = Tuple[str, str]
# A process that completes a switch has neither a coordinator nor a session.
CELLS = [
    (state, fault)
    for state in STATES
    for fault in FAULTS
    if state != "recovering" or fault in ("agent killed", "power cut")
]


@dataclass(frozen=True)
class Outcome:
    """`ended` is old, new or a text that says what is wrong; `state` is where it really struck.

    `lock_seconds` count from the fault, or from the end of a switch that went on without its
    coordinator, until the lock is free or with the process that completes what was left.
    """

    host: str
    state: str
    fault: str
    after: float
    ended: str
    lock_seconds: float
    settled_seconds: float
    next_deploy: str

    @property
    def kept_promise(self) -> bool:
        return (
            self.ended in ("old", "new")
            and self.next_deploy == "healthy"
            and self.lock_seconds <= LOCK_FREE_WITHIN
        )


def start_program(release: Path, inventory: Path) -> subprocess.Popen[str]:
    """A deploy as a process of its own."""
    return subprocess.Popen(
        [*(sys.executable, *PROGRAM, "deploy"), str(release), f"--to={inventory}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


class Matrix:
    def __init__(
        self,
        farm: HostFarm,
        folder: Path,
        seed: str,
        strikes: Mapping[Cell, int],
    ) -> None:
        self.farm, self.folder, self.seed, self.strikes = farm, folder, seed, strikes
        self.outcomes: List[Outcome] = []
        self.log: Callable[[str], None] = lambda line: None
        self._left = dict(strikes)
        self._attempts: Counter[Cell] = Counter()
        self._lock = threading.Lock()
        content = random.Random(seed).randbytes if sys.version_info >= (3, 9) else os.urandom
        small = {f"lib/{number}.js": str(number) for number in range(150)}
        self.releases = {
            version: write_release(
                folder / version,
                version,
                files={**small, "big": content(1_000_000).hex(), "lib/0.js": version},
                start="sleep 0.5",
                stop=f"sleep 0.5; {STOPS}",
                health="sleep 0.3; false" if version == BAD else RUNS,
            )
            for version in (*VERSIONS, BAD)
        }

    def run(self) -> List[Outcome]:
        """Strikes all hosts at the same time, each by a thread of its own."""
        workers = [
            threading.Thread(target=self._work, args=(host, random.Random(f"{self.seed}-{host}")))
            for host in self.farm.hosts
        ]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
        return self.outcomes

    def _work(self, host: Host, chance: random.Random) -> None:
        struck = Struck(host, self.farm, self.folder, self.releases)
        struck.prepare()
        while True:
            cell = self._next_cell()
            if cell is None:
                return
            outcome = struck.strike(*cell, chance)
            with self._lock:
                self.outcomes.append(outcome)
                if self._left.get((outcome.state, outcome.fault), 0) > 0:
                    self._left[outcome.state, outcome.fault] -= 1
            self.log(json.dumps(asdict(outcome)))
            if not outcome.kept_promise:
                # What is left of it is of interest; another strike would cover it.
                self.log(struck.journal())
                return

    def _next_cell(self) -> Optional[Cell]:
        with self._lock:
            wanted = [
                (self._attempts[cell] / self.strikes[cell], cell)
                for cell, left in self._left.items()
                if left > 0 and self._attempts[cell] < ATTEMPTS * self.strikes[cell]
            ]
            if not wanted:
                return None
            cell = min(wanted)[1]
            self._attempts[cell] += 1
            return cell


class Struck:
    """One host, whose deploys are struck one after the other."""

    def __init__(self, host: Host, farm: HostFarm, folder: Path, releases: Dict[str, Path]) -> None:
        self.host, self.releases = host, releases
        self.own = host.path(f"{TOP}/.slipway")
        self.inventory = folder / f"{host.name}.json"
        described = {
            "path": TOP,
            "hosts": [host.name],
            "server_env": "prod",
            "keep": 2,
            "health": {"retries": 2, "interval": 1, "timeout": 5, "hold": 1},
            "stop_timeout": 10,
            "hooks": {
                "before_local": "sleep 0.5",
                "before_switch": "echo drained >>~/hooks",
                "always": "echo back >>~/hooks",
            },
            "ssh_options": ["-F", str(farm.ssh_config)],
        }
        self.inventory.write_text(json.dumps(described))

    def prepare(self) -> None:
        """With files of others beside it, in its folder and among the releases."""
        made = self.host.run(
            f"mkdir -p {' '.join(FOREIGN)}; for place in {' '.join(FOREIGN)}; do "
            "echo mine >$place/file; chmod 640 $place/file; ln -s file $place/link; done"
        )
        assert made.returncode == 0, made.stderr
        assert self._deploy(VERSIONS[0]).wait() == 0, self.journal()
        self._foreign = self._snapshot()

    def _hooks(self) -> List[str]:
        with contextlib.suppress(FileNotFoundError):
            return self.host.path("/root/hooks").read_text().split()
        return []

    def _hooks_are_paid(self, fault: str) -> bool:
        """What drained the host has been followed by what ends that, once for each switch."""
        twice = "+" if fault == "power cut" else ""  # one that the cut ended is run again
        told = " ".join([*self._hooks(), ""])
        return bool(re.fullmatch(f"((drained )?(back ){twice})*", told))

    def _snapshot(self) -> List[Dict[str, Any]]:
        return [snapshot(self.host.path(place)) for place in FOREIGN]

    def journal(self) -> str:
        with contextlib.suppress(OSError):
            return (self.own / "journal").read_text()
        return ""

    def strike(self, state: str, fault: str, chance: random.Random) -> Outcome:
        # What ends by itself just now is not to be taken for the one to strike.
        self._until(lambda: not self._agents() | self._recoveries(), time.monotonic())
        old = self._version()
        new = BAD if state == "going back" else VERSIONS[(VERSIONS.index(old) + 1) % 4]
        before = len(self.journal())
        coordinator = self._deploy(new)
        after = chance.uniform(0, STATES[state][1])
        try:
            if state == "recovering":
                self._wait_for("linked", coordinator, before)
                harness.end(self._agents())
            agents = self._wait_for(state, coordinator, before)
            time.sleep(after)
            found = self._state(before)
            if coordinator.poll() is not None and state != "recovering":
                found = "over"
            self._hit(fault, coordinator, agents, chance)
            at = time.monotonic()
            # A switch that is under way has its lock by right.
            if fault not in ("agent killed", "power cut"):
                self._until(lambda: not (self.own / "doing").exists(), at)
            lock_seconds = self._until(self._lock_is_free, time.monotonic())
            settled_seconds = self._until(self._is_settled, at)
            ended = self._judge(old, new)
            if self._snapshot() != self._foreign:
                ended = f"{ended}, and files of others have changed"
            if not self._hooks_are_paid(fault):
                ended = f"{ended}, and hooks ran as {self._hooks()}"
            if settled_seconds > SETTLED_WITHIN:
                ended = f"{ended}, and under way is still {self.host.processes()}"
        finally:
            self.host.mend()
            self.host.free_disk()
            if coordinator.poll() is None and fault != "coordinator killed":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    coordinator.wait(2)
            coordinator.kill()
            coordinator.wait()
        following = VERSIONS[(VERSIONS.index(old) + 2) % 4]
        done = self._deploy(following)
        said = done.communicate(timeout=120)[0]
        healthy = done.returncode == 0 and self._judge(following, "") == "old"
        return Outcome(
            *(self.host.name, found, fault, round(after, 4), ended),
            *(round(lock_seconds, 2), round(settled_seconds, 2)),
            "healthy" if healthy else said,
        )

    # --- The deploy, and where it is.

    def _deploy(self, version: str) -> subprocess.Popen[str]:
        return start_program(self.releases[version], self.inventory)

    def _wait_for(self, state: str, coordinator: subprocess.Popen[str], before: int) -> Set[int]:
        """The agent's processes, when the state has been reached or the deploy has ended."""
        pattern = STATES[state][0]
        look = self._recoveries if state == "recovering" else self._agents
        agents: Set[int] = set()
        while coordinator.poll() is None or state == "recovering":
            if state == "recovering":
                agents = look()
            elif not agents and look():
                # A process that is just starting another program has no name for a moment.
                time.sleep(0.05)
                agents = look()
            there = bool(agents) if state == "looking" else (self.own / "staged").exists()
            if re.search(f"Z {pattern}", self.journal()[before:]) if pattern else there:
                break
            time.sleep(0.001)
        return agents

    def _state(self, before: int) -> str:
        found = "staging" if (self.own / "holder").exists() else "looking"
        for line in self.journal()[before:].splitlines():
            for state, (pattern, _) in STATES.items():
                if pattern and re.search(f"Z {pattern}", line):
                    found = state
        return found

    def _agents(self) -> Set[int]:
        """What runs the agent for a session."""
        return {pid for pid, one in self.host.processes().items() if "slipway-agent" in one}

    def _recoveries(self) -> Set[int]:
        """What completes a switch, or waits until that may be needed."""
        return {
            pid
            for pid, one in self.host.processes().items()
            if re.search(r"\.slipway(/agent|-boot/)", one) and " keep-log " not in one
        }

    def _hit(
        self,
        fault: str,
        coordinator: subprocess.Popen[str],
        agents: Set[int],
        chance: random.Random,
    ) -> None:
        if fault == "coordinator killed":
            coordinator.kill()
        elif fault == "ssh killed":
            harness.end(harness.descendants(coordinator.pid))
        elif fault == "agent killed":
            # What it had forked for a moment when it was seen is gone by now.
            agents = {pid for pid in agents if Path(f"/proc/{pid}").exists()}
            # Its first process alone, or with all that runs the same text, but for the one that
            # waits to complete what this one leaves: of those that recover, that is a child.
            trees = sorted((pid for pid in agents if _parent(pid) not in agents), key=_started_at)
            whole = {*trees[:1], *(harness.descendants(trees[0]) & agents if trees else ())}
            alone = agents & self._recoveries() or chance.random() < 0.5
            harness.end(set(trees[:1]) if alone else whole)
        elif fault == "power cut":
            self.host.power_cut()
            time.sleep(0.2)
            self.host.boot()
        else:
            _LASTING[fault](self.host)

    # --- What is left.

    def _until(self, condition: Callable[[], bool], since: float) -> float:
        while not condition():
            if time.monotonic() - since > SETTLED_WITHIN:
                break
            time.sleep(0.1)
        return time.monotonic() - since

    def _lock_is_free(self) -> bool:
        """Free, or with the process that completes what was left."""
        holder = self.own / "holder"
        with contextlib.suppress(OSError):
            if holder.read_text().startswith("recovery"):
                return True
        return self.host.run(f"flock -n {TOP}/.slipway/lock true").returncode == 0

    def _is_settled(self) -> bool:
        is_free = self.host.run(f"flock -n {TOP}/.slipway/lock true").returncode == 0
        return (
            is_free
            and not (self.own / "doing").exists()
            and not self._agents() | self._recoveries()
        )

    def _version(self) -> str:
        return self.host.run(
            f"sed 's/.*: \"//; s/\".*//' {TOP}/current/package.json"
        ).stdout.strip()

    def _judge(self, old: str, new: str) -> str:
        """`old` or `new`: one of them is linked, whole, healthy, and the only one that runs."""
        checks = {
            "linked": "readlink current",
            "whole": "cd current && cat .release/*.sha256 | sha256sum -c --quiet",
            "healthy": "current/bin/app health",
            "running": "ls -l /proc/[0-9]*/exe | sed -n 's|.* -> .*/tiny/\\(releases/[^/]*\\)/.*|\\1|p'",
        }
        said = {name: self.host.run(f"cd {TOP} && {check}") for name, check in checks.items()}
        linked = said["linked"].stdout.strip()
        faults = [name for name in ("whole", "healthy") if said[name].returncode != 0]
        if faults:
            return f"{linked}: not {', '.join(faults)}: {said[faults[0]].stdout}"
        if said["running"].stdout.split() != [linked]:
            return f"{linked} is linked, running are {said['running'].stdout.split()}"
        version = self._version()
        return {old: "old", new: "new"}.get(version, f"{version} is served")


def _stat(pid: int) -> List[str]:
    """What follows the name in /proc/<pid>/stat: state, parent, ..."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["X", "0", *["0"] * 20]


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _started_at(pid: int) -> int:
    return int(_stat(pid)[19])


# --- The table.


def by_cell(outcomes: Sequence[Outcome]) -> Iterator[Tuple[str, str, List[Outcome]]]:
    for state, fault in CELLS:
        found = [one for one in outcomes if (one.state, one.fault) == (state, fault)]
        yield state, fault, found


HEAD = ("state", "fault", "times", "old", "new", WRONG, "lock free, s", "settled, s")


def rows(outcomes: Sequence[Outcome]) -> List[Sequence[str]]:
    """How often a host ended with which release, and the longest times; the head comes first."""
    found_rows: List[Sequence[str]] = [HEAD]
    for state, fault, found in by_cell(outcomes):
        ended = Counter(one.ended if one.kept_promise else "wrong" for one in found)
        found_rows.append(
            [
                *(state, fault, str(len(found))),
                *(str(ended[key]) for key in ("old", "new", "wrong")),
                f"{max((one.lock_seconds for one in found), default=0):.1f}",
                f"{max((one.settled_seconds for one in found), default=0):.1f}",
            ]
        )
    return found_rows
