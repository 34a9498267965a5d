"""One host of a deployment: what is known of it, and the steps that a coordinator asks of it."""

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

_QUICK = 60.0  # seconds for what only looks
_LONG = 1800.0  # for what moves a whole release
_SPARE = 1.1  # of the space that a release takes, a bit more is asked for
# What ssh says where an sshd, often that of a jump host, has more starts than its MaxStartups.
_BUSY = ("kex_exchange_identification", "Connection reset", "Connection closed")
_AGAIN_AFTER = (1.0, 2.0, 4.0, 6.0, 8.0)  # seconds, and up to as many again

_NOT_AFTER_A_REBOOT = (
    "nothing starts it after a reboot: the user has no cron, and is not root for a unit of systemd "
    "with a home to write to; "
    "see to it, and set boot to off"
)
_LEFT = "left"  # behind the time when a release was healthy

Connect = Callable[[str], Session]


@dataclass(frozen=True)
class KeptRelease:
    """A release on a host; `lists` are hashes of its file lists by layer.

    `order` counts up by when releases began to serve last, 0 for one that never did; `running` are
    process ids, and `since` is when the first of them began.
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
        """The same on all hosts: its digest, or the name of what was deployed by hand."""
        return self.facts.get("digest") or self.id

    @property
    def name(self) -> str:
        """Its id without the time when this host got it."""
        return self.id.partition("-")[2]

    @property
    def is_target(self) -> bool:
        """Whether a rollback may choose it: healthy, and nobody has gone back from it."""
        return bool(self.healthy) and not self.failed and not self.healthy.endswith(_LEFT)


@dataclass(frozen=True)
class HostState:
    """What a host says of itself."""

    about: Answer
    releases: Tuple[KeptRelease, ...]

    @property
    def linked(self) -> str:
        return self.about["linked"]

    @property
    def current(self) -> Optional[KeptRelease]:
        """What is linked, if it is there."""
        return next((one for one in self.releases if one.id == self.linked), None)

    def find(self, key: str) -> Optional[KeptRelease]:
        """The release with this key that served last; one that failed may be tried again."""
        found = [one for one in self.releases if one.key == key]
        return max(found, key=lambda one: (one.order, one.id)) if found else None

    def targets(self) -> List[KeptRelease]:
        """What a rollback may choose, the one that served last first."""
        found = [one for one in self.releases if one.is_target]
        return sorted(found, key=lambda one: -one.order)


@dataclass(frozen=True)
class HostPlan:
    """What a deploy does on a host: the id there, and what has to be sent for it."""

    id: str
    base: str
    is_there: bool
    removed: Tuple[str, ...] = ()
    missing: FrozenSet[str] = frozenset()
    bytes: int = 0


class HostFailed(Exception):
    """Nothing more is done on this host; the text is for the table."""


class Host:
    """`step` is under way or was the last, `status` is one word for the table and `text` explains
    it.  `before` was served when the deploy began, `target` is what it should serve, and `served`
    what it serves as far as is known.
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
        """What is worth knowing of a host that has not failed."""
        self.text = "; ".join(filter(None, (self.text, _printable(text))))

    def attempt(self, step: Callable[[], None], status: str = "refused") -> None:
        """Runs a step unless this host has failed already; its faults are kept for the table."""
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
            # A fault of ours, or an answer that no agent gives: the other hosts are to go on.
            self.fail("lost", f"what it answers cannot be read ({type(error).__name__}: {error})")

    def _fail_as_ended(self) -> None:
        is_half_way = self.was_switched and not self.served
        self.fail("ended", "it completes the switch alone" if is_half_way else "")

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    # --- The steps.

    def look(self) -> None:
        answers = self._first_look() if self._session is None else self._ask("look", _QUICK)
        self.state = HostState(
            answers[0], tuple(_kept(one) for one in answers if one["say"] == "release")
        )
        self.before = self.served = self.state.linked

    def _first_look(self) -> List[Answer]:
        for pause in (*_AGAIN_AFTER, 0.0):
            try:
                # It may be over before all of the agent is sent.
                self._session = self._connect(self.name)
                return self._ask("look", _QUICK)
            except SessionLost as error:
                if not pause or not any(one in str(error) for one in _BUSY):
                    raise
            self.close()
            # Not all at the same time again.
            self._children.ended.wait(pause * random.uniform(1, 2))
        raise AssertionError

    def begin(self, by: str) -> None:
        """Takes the lock, and has what an earlier deploy left half-way completed."""
        answer = self._ask("begin", _LONG, by=by)[-1]
        if answer["say"] == "locked":
            holder = answer["holder"] or "one that has just begun"
            raise HostFailed(f"another deploy has this host: {holder}")
        self.look()

    def configure(self, deployment: Deployment, by: str, at: str) -> None:
        config = config_text(deployment, by, at)
        body = (config + agent_text()).encode()
        self._ask("configure", _QUICK, body, lines=config.count("\n"))

    def make_plan(self, release: ShippedRelease, stamp: str) -> None:
        """Finds out what has to be sent; the host is only looked at."""
        assert self.state is not None
        there = self.state.find(release.digest)
        if there is not None:
            self.plan = HostPlan(there.id, "", is_there=True)
            return
        base = self._base(release)
        kept = release.kept(base.lists) if base else []
        asked = sorted(set(base.lists) - set(kept)) if base else []
        files = BaseFiles({}, frozenset())
        if base is not None:
            compressed = self._ask_for_bytes("lists", base=base.id, lists=",".join(asked))
            files = read_base(compressed)
        found = release.difference(files, kept)
        self.plan = self._planned(release, stamp, base.id if base else "", found)

    def _base(self, release: ShippedRelease) -> Optional[KeptRelease]:
        """The release there that most layers are shared with; of equal ones the newest."""
        assert self.state is not None
        usable = [one for one in self.state.releases if one.lists and one.facts]
        usable.sort(key=lambda one: (len(release.kept(one.lists)), one.order, one.id))
        return usable[-1] if usable else None

    def _planned(
        self, release: ShippedRelease, stamp: str, base: str, found: Difference
    ) -> HostPlan:
        assert self.state is not None
        size = len(release.archive(found.missing, self.packed))
        plan = HostPlan(release.name(stamp), base, False, found.removed, found.missing, size)
        about = self.state.about
        # Root's files are copied, and so may those of others be where links are not to be had.
        needed = int((sum(release.file_bytes.values()) + size) * _SPARE) // 1024
        if int(about["free_kb"] or needed) < needed:
            raise HostFailed(f"{about['free_kb']} kB are free, and {needed} kB are needed")
        inodes = int(len(release.file_bytes) * _SPARE)
        # Some file systems have as many inodes as they need, and say nothing.
        if about["free_inodes"] and int(about["free_inodes"]) < inodes:
            raise HostFailed(f"{about['free_inodes']} inodes are free, and {inodes} are needed")
        return plan

    def ship(self, release: ShippedRelease, stamp: str, facts: str) -> None:
        """Stages the release, from what is there and what is sent."""
        plan = self.plan
        assert plan is not None
        if plan.is_there and not self._changed(plan.id):
            return
        try:
            if plan.is_there:
                raise _Damaged
            self._ship(plan, release, facts)
        except _Damaged:
            # What it was copied from is not what its lists say: all of it is sent.  What may be
            # served is left alone, so it gets a name of its own.
            whole = release.difference(BaseFiles({}, frozenset()), [])
            self.plan = HostPlan(release.name(stamp), "", False, (), whole.missing)
            self._ship(self.plan, release, facts)

    def verify(self, id: str) -> None:
        """Refuses a release that is not what it was when it was shipped; new files are told."""
        answer = self._ask("verify", _LONG, id=id)[-1]
        if answer["files"]:
            raise HostFailed(f"files of {id} have been changed: {answer['files']}")
        if answer["added"]:
            self.add_words(f"files of {id} that no deploy brought: {answer['added']}")

    def _changed(self, id: str) -> str:
        return self._ask("verify", _LONG, id=id)[-1]["files"]

    def _ship(self, plan: HostPlan, release: ShippedRelease, facts: str) -> None:
        try:
            self._send(plan, release, facts)
        except StepFailed:
            # A part that an earlier session left may be what is wrong.
            if not self._resumed:
                raise
            self._send(plan, release, facts)

    def _send(self, plan: HostPlan, release: ShippedRelease, facts: str) -> None:
        names = "".join(f"{name}\n" for name in plan.removed).encode()
        staged = self._ask("stage", _LONG, gzip.compress(names, mtime=0), base=plan.base)[-1]
        if staged["added"]:
            self.add_words(
                f"files of {plan.base} that no deploy brought are not part of the new release: "
                f"{staged['added']}"
            )
        missing = plan.missing
        if staged["changed"]:
            self.add_words(
                f"files of {plan.base} that were changed there are sent again: {staged['changed']}"
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
                raise HostFailed(f"files are not as they were sent: {answer['files']}")
            raise _Damaged

    @property
    def packed(self) -> str:
        """What unpacks there what is sent."""
        assert self.state is not None
        return "zstd" if self.state.about["zstd"] and has_zstd() else "gzip"

    def switch(
        self, id: str, seconds: float, boot: str, *, goes_back: bool = False, leaving: str = ""
    ) -> None:
        """`leaving` is a release that is gone back from: no later rollback chooses it."""
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
            self.add_words(f"old releases cannot be removed: {stuck}")

    def _ask(self, do: str, seconds: float, body: bytes = b"", **fields: object) -> List[Answer]:
        assert self._session is not None
        return self._session.ask(do, seconds, body, **fields)

    def _ask_for_bytes(self, do: str, **fields: object) -> bytes:
        assert self._session is not None
        return self._session.ask_for_bytes(do, _QUICK, b"", **fields)


class _Damaged(Exception):
    pass


def _printable(text: str) -> str:
    # A server's words may be anything, and go to a terminal.
    return "".join(one if one.isprintable() else " " for one in text).strip()


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
