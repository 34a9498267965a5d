"""One host of a deployment: its known state, and the steps that the coordinator runs on it."""

from __future__ import annotations

import gzip
import hashlib
import random
from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, List, Optional, Tuple

from slipway.deploy.children import Children, Interrupted
from slipway.deploy.deployment import Deployment, config_text
from slipway.deploy.session import Answer, Session, SessionLost, StepFailed, agent_text, facts_of
from slipway.deploy.shipped_release import (
    BaseFiles,
    Difference,
    ShippedRelease,
    has_zstd,
    read_base,
    read_names,
)

_QUICK = 60.0  # seconds for a step that only reads
_LONG = 1800.0  # seconds for a step that reads or writes a whole release
_SPARE = 1.1  # a host needs the space of a release, and 10 % more
# sshd drops connections above its MaxStartups, often on a jump host; ssh then prints one of these.
_BUSY = ("kex_exchange_identification", "Connection reset", "Connection closed")
_AGAIN_AFTER = (1.0, 2.0, 4.0, 6.0, 8.0)  # seconds, times a random factor from 1 to 2

_NOT_AFTER_A_REBOOT = (
    "the release does not start after a reboot: the user has no crontab, and a systemd unit needs root "
    "with a writable home; arrange the start yourself and set boot to off"
)
_LEFT = "left"  # follows the time at which a release was healthy

Connect = Callable[[str], Session]


@dataclass(frozen=True)
class KeptRelease:
    """A release on a host; `lists` has the hash of each layer's file list.

    `order` increases with the time at which a release last started to serve; 0 means never.
    `running` has process ids, and `since` is the start time of the first process.
    """

    id: str
    healthy: str
    failed: bool
    facts: Dict[str, str]
    order: int
    running: Tuple[str, ...]
    since: str
    lists: Dict[str, str]

    @property
    def key(self) -> str:
        """The same on all hosts: the digest, or the id of a release that was deployed by hand."""
        return self.facts.get("digest") or self.id

    @property
    def name(self) -> str:
        """The id without the time at which the release was first shipped."""
        return self.id.partition("-")[2]

    @property
    def is_target(self) -> bool:
        """Whether a rollback may choose it: it was healthy, and no rollback has left it."""
        return bool(self.healthy) and not self.failed and not self.healthy.endswith(_LEFT)


@dataclass(frozen=True)
class HostState:
    """What a host reports about itself and its releases."""

    about: Answer
    releases: Tuple[KeptRelease, ...]

    @property
    def linked(self) -> str:
        return self.about["linked"]

    @property
    def current(self) -> Optional[KeptRelease]:
        """The release that `current` points to, if its folder exists."""
        return next((release for release in self.releases if release.id == self.linked), None)

    def find(self, key: str) -> Optional[KeptRelease]:
        """The release with this key that served last; a failed release may be tried again."""
        matching = [release for release in self.releases if release.key == key]
        if not matching:
            return None
        return max(matching, key=lambda release: (release.order, release.id))

    def targets(self) -> List[KeptRelease]:
        """The releases that a rollback may choose, the last served first."""
        targets = [release for release in self.releases if release.is_target]
        return sorted(targets, key=lambda release: -release.order)


@dataclass(frozen=True)
class HostPlan:
    """What a deploy does on a host: the id of the release there, and the files to send."""

    id: str
    base: str
    is_there: bool
    removed: Tuple[str, ...] = ()
    missing: FrozenSet[str] = frozenset()
    bytes: int = 0


class HostFailed(Exception):
    """Ends the work on this host; the text goes into the table."""


class Host:
    """A host and its progress.

    `step` is the current or last step, `status` is one word for the table, and `text` explains it.
    `before` is the release that the host served when the deploy started, `target` the release that it
    should serve, and `served` the release that it serves as far as the coordinator knows.
    """

    def __init__(self, name: str, connect: Connect, children: Children) -> None:
        self.name = name
        self.status = "waiting"
        self.step = ""
        self.text = ""
        self.state: Optional[HostState] = None
        self.plan: Optional[HostPlan] = None
        self.sent = 0
        self.before = ""
        self.target = ""
        self.served = ""
        self.was_switched = False
        self._resumed = False
        self._connect = connect
        self._children = children
        self._session: Optional[Session] = None

    @property
    def failed(self) -> bool:
        return self.status in ("unreachable", "refused", "lost", "returned", "DOWN", "ended")

    def fail(self, status: str, text: str) -> None:
        self.status, self.text = status, _printable(text)
        self.close()

    def add_words(self, text: str) -> None:
        """Appends a note about a host that has not failed."""
        self.text = "; ".join(filter(None, (self.text, _printable(text))))

    def attempt(self, step: Callable[[], None], status: str = "refused") -> None:
        """Runs a step unless this host has failed already; an error goes into the table."""
        if self.failed:
            return
        try:
            step()
        except Interrupted:
            self._fail_as_ended()
        except SessionLost as error:
            if self._children.ended.is_set():
                self._fail_as_ended()
            else:
                self.fail("unreachable" if self.state is None else "lost", str(error))
        except (StepFailed, HostFailed) as error:
            self.fail(status, str(error))
        except Exception as error:
            # An error in this code, or an answer that no agent sends: the other hosts must go on.
            self.fail("lost", f"cannot read the host's answer ({type(error).__name__}: {error})")

    def _fail_as_ended(self) -> None:
        is_half_way = self.was_switched and not self.served
        self.fail("ended", "the host finishes the switch on its own" if is_half_way else "")

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    # --- The steps.

    def look(self) -> None:
        answers = self._first_look() if self._session is None else self._ask("look", _QUICK)
        self.state = HostState(
            answers[0], tuple(_kept(answer) for answer in answers if answer["say"] == "release")
        )
        self.before = self.served = self.state.linked

    def _first_look(self) -> List[Answer]:
        for pause in (*_AGAIN_AFTER, 0.0):
            try:
                # Starting a session sends the agent, so a lost session can fail here, too.
                self._session = self._connect(self.name)
                return self._ask("look", _QUICK)
            except SessionLost as error:
                if not pause or not any(message in str(error) for message in _BUSY):
                    raise
            self.close()
            # A random pause: hosts that retry at the same time would be dropped again.
            self._children.ended.wait(pause * random.uniform(1, 2))
        raise AssertionError

    def begin(self, by: str) -> None:
        """Takes the lock; the agent then completes what an earlier deploy left half-way."""
        answer = self._ask("begin", _LONG, by=by)[-1]
        if answer["say"] == "locked":
            holder = answer["holder"] or "a deploy that has just started"
            raise HostFailed(f"another deploy holds the lock of this host: {holder}")
        self.look()

    def configure(self, deployment: Deployment, by: str, at: str) -> None:
        config = config_text(deployment, by, at)
        body = (config + agent_text()).encode()
        self._ask("configure", _QUICK, body, lines=config.count("\n"))

    def make_plan(self, release: ShippedRelease, stamp: str) -> None:
        """Computes the files to send; changes nothing on the host."""
        assert self.state is not None
        there = self.state.find(release.digest)
        if there is not None:
            self.plan = HostPlan(there.id, "", is_there=True)
            return
        base = self._base(release)
        kept = release.kept(base.lists) if base else []
        needed = sorted(set(base.lists) - set(kept)) if base else []
        files = BaseFiles({}, frozenset())
        if base is not None:
            compressed = self._ask_for_bytes("lists", base=base.id, lists=",".join(needed))
            files = read_base(compressed)
        difference = release.difference(files, kept)
        self.plan = self._planned(release, stamp, base.id if base else "", difference)

    def _base(self, release: ShippedRelease) -> Optional[KeptRelease]:
        """The release on the host that shares most layers; among equal ones, the last served."""
        assert self.state is not None
        usable = [kept for kept in self.state.releases if kept.lists and kept.facts]
        usable.sort(key=lambda kept: (len(release.kept(kept.lists)), kept.order, kept.id))
        return usable[-1] if usable else None

    def _planned(
        self, release: ShippedRelease, stamp: str, base: str, difference: Difference
    ) -> HostPlan:
        assert self.state is not None
        size = len(release.archive(difference.missing, self.packed))
        plan = HostPlan(
            release.name(stamp), base, False, difference.removed, difference.missing, size
        )
        about = self.state.about
        # Space for all files, not only the sent ones: for root the agent copies instead of linking, as
        # it does where a file system has no hard links.
        needed = int((sum(release.file_bytes.values()) + size) * _SPARE) // 1024
        if int(about["free_kb"] or needed) < needed:
            raise HostFailed(
                f"not enough disk space: {about['free_kb']} kB free, {needed} kB needed"
            )
        inodes = int(len(release.file_bytes) * _SPARE)
        # File systems that allocate inodes on demand, such as Btrfs, report none.
        if about["free_inodes"] and int(about["free_inodes"]) < inodes:
            raise HostFailed(f"not enough inodes: {about['free_inodes']} free, {inodes} needed")
        return plan

    def ship(self, release: ShippedRelease, stamp: str, facts: str) -> None:
        """Stages the release from files on the host and files that are sent."""
        plan = self.plan
        assert plan is not None
        if plan.is_there and not self._changed(plan.id):
            return
        try:
            if plan.is_there:
                raise _Damaged
            self._ship(plan, release, facts)
        except _Damaged:
            # The base does not match its lists, so send all files. The damaged release may be served
            # and stays as it is; the new copy gets its own id.
            whole = release.difference(BaseFiles({}, frozenset()), [])
            self.plan = HostPlan(release.name(stamp), "", False, (), whole.missing)
            self._ship(self.plan, release, facts)

    def verify(self, id: str) -> None:
        """Refuses a release whose files have changed since it was shipped; reports added files."""
        answer = self._ask("verify", _LONG, id=id)[-1]
        if answer["files"]:
            raise HostFailed(f"files of {id} were changed on the host: {answer['files']}")
        if answer["added"]:
            self.add_words(f"files in {id} that Slipway did not ship: {answer['added']}")

    def _changed(self, id: str) -> str:
        return self._ask("verify", _LONG, id=id)[-1]["files"]

    def _ship(self, plan: HostPlan, release: ShippedRelease, facts: str) -> None:
        try:
            self._send(plan, release, facts)
        except StepFailed:
            # The part of the archive that a lost session left may be damaged: send it all again.
            if not self._resumed:
                raise
            self._send(plan, release, facts)

    def _send(self, plan: HostPlan, release: ShippedRelease, facts: str) -> None:
        names = "".join(f"{name}\n" for name in plan.removed).encode()
        staged = self._ask("stage", _LONG, gzip.compress(names, mtime=0), base=plan.base)[-1]
        if staged["added"]:
            self.add_words(
                f"files in {plan.base} that Slipway did not ship are not in the new release: "
                f"{staged['added']}"
            )
        missing = plan.missing
        if staged["changed"]:
            self.add_words(
                f"files of {plan.base} were changed on the host and are sent again: "
                f"{staged['changed']}"
            )
            missing |= read_names(self._ask_for_bytes("changed")) & release.file_bytes.keys()
        archive = release.archive(missing, self.packed)
        digest = _sha256(archive)
        offset = int(self._ask("offer", _QUICK, sha256=digest)[-1]["offset"] or 0)
        rest, self._resumed = archive[offset:], offset > 0
        self.sent += len(rest)
        answer = self._ask(
            *("receive", _LONG, rest),
            size=len(archive),
            rest=len(rest),
            sha256=digest,
            packed=self.packed,
            id=plan.id,
            facts=facts,
        )[-1]
        if answer["say"] == "damaged":
            if not plan.base:
                raise HostFailed(f"files on the host differ from the release: {answer['files']}")
            raise _Damaged

    @property
    def packed(self) -> str:
        """The compression of the archive: zstd if both machines have it, else gzip."""
        assert self.state is not None
        return "zstd" if self.state.about["zstd"] and has_zstd() else "gzip"

    def switch(
        self, id: str, seconds: float, boot: str, *, goes_back: bool = False, leaving: str = ""
    ) -> None:
        """Switches to the release `id`.

        `leaving` is the release that a rollback leaves; no later rollback chooses it.
        """
        self.target = id
        comes_up = self._ask("boot", _QUICK, boot=boot)[-1]["boot"]
        settings = "kept" if goes_back else "new"
        self.was_switched, self.served = True, ""
        answer = self._ask("switch", seconds, id=id, leaving=leaving, settings=settings)[-1]
        if answer["say"] == "ok":
            self.status, self.served = "healthy", id
            self.add_words(answer["text"])
            self.add_words("" if comes_up else _NOT_AFTER_A_REBOOT)
            return
        text, back = answer["text"], answer["linked"]
        self.served = back
        if answer["healthy"] == "yes":
            self.fail("returned", f"{text}; {back} is served again. {answer['log']}")
        elif back:
            self.fail("DOWN", f"{text}; {back} is not healthy either. {answer['log']}")
        else:
            self.fail("DOWN", f"{text}; nothing was served before. {answer['log']}")

    def prune(self, keep: int) -> None:
        stuck = self._ask("prune", _LONG, keep=keep)[-1]["stuck"]
        if stuck:
            self.add_words(f"cannot remove old releases: {stuck}")

    def _ask(self, do: str, seconds: float, body: bytes = b"", **fields: object) -> List[Answer]:
        assert self._session is not None
        return self._session.ask(do, seconds, body, **fields)

    def _ask_for_bytes(self, do: str, **fields: object) -> bytes:
        assert self._session is not None
        return self._session.ask_for_bytes(do, _QUICK, b"", **fields)


class _Damaged(Exception):
    pass


def _printable(text: str) -> str:
    # A host can send any bytes: control characters must not reach the terminal.
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _kept(answer: Answer) -> KeptRelease:
    words = answer["lists"].split()
    lists = {name[: -len(".sha256")]: digest for digest, name in zip(words[::2], words[1::2])}
    return KeptRelease(
        answer["id"],
        answer["healthy"].strip(),
        answer["failed"] == "yes",
        facts_of(answer["facts"]),
        int(answer["order"] or 0),
        tuple(answer["running"].split()),
        answer["since"],
        lists,
    )
