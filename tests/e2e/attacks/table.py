"""The attacks: what each tries, by which script, and what must be true afterwards.

Each is a script of `payloads/` that goes into a package of its own.  A check gets the evidence of
one attack and gives what it found wrong, an empty list if the build tool held.  `NOT_PROTECTED`
says which cells of the table are known to be open, and why.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from slipway.npm.scripts import native_packages
from tests.e2e.attacks.arena import FORBIDDEN, Arena, Member, Package, Run, Step, read_members

PREFIX = "attack-"
_USABLE = 10.0  # seconds that starting a program may take meanwhile
BYSTANDER = "bystander"
QUIET, HARM, ALONE, EXHAUST = "quiet", "harm", "alone", "exhaust"
"""Batches: attacks that share a build; those that may end other steps; those that end the build;
those that take all that they get of something, which limits of a step must stop."""


INSIDE_PLAIN = "inside as a plain user"
INSTALL, BUILD, MAKE = "install script", "build script", "make"
"""Where an attack runs: in a package, in an application's build, in the make of a runtime."""

EVERYWHERE = (INSTALL, BUILD, MAKE)
# The program of the step, and what its outputs may hold.
_PROGRAMS = {
    INSTALL: "slipway.npm.programs.compile",
    BUILD: "slipway.bundle.programs.build",
    MAKE: "slipway.runtime.programs.build",
}
_BELONGS = {BUILD: ("dist",), MAKE: ("bin", "include", "lib", "share")}


@dataclass(frozen=True)
class Evidence:
    """What is known of one attack in one place after a build.

    `found` is what the script noted, None if nothing came out of its step; `message` is the part of
    the error that is about it; `release` has the members of a release, None where none was made.
    """

    attack: Attack
    place: str
    arena: Arena
    run: Run
    step: Optional[Step]
    found: Optional[Dict[str, Any]]
    message: str
    release: Optional[Sequence[Member]]

    @property
    def token(self) -> str:
        return self.arena.token(self.attack.package_name)

    @property
    def tops(self) -> Tuple[str, ...]:
        """The folders that outputs of the step may have."""
        own = f"node_modules/{self.attack.package_name}"
        return _BELONGS.get(self.place, (own,))


Check = Callable[[Evidence], List[str]]


@dataclass(frozen=True)
class Attack:
    """`batch` names the build that it is part of, and `places` where it runs.

    `critical` puts it into the quick tier. `fails` tells that its script ends in an error, which the build must name; `may_fail` that the
    build may refuse what it leaves. `newer` gives it a binary that needs a newer C library than the
    oldest host has.
    """

    name: str
    tries: str
    payload: str
    checks: Tuple[Check, ...] = ()
    batch: str = QUIET
    critical: bool = False
    places: Tuple[str, ...] = (INSTALL,)
    settings: Mapping[str, Any] = field(default_factory=dict)
    decision: str = "run"
    fails: bool = False
    may_fail: bool = False
    newer: bool = False

    @property
    def apart(self) -> bool:
        """Whether it has a build script or a make for itself: it ends the step, or spoils it all."""
        return self.fails or self.newer or self.batch == ALONE

    @property
    def package_name(self) -> str:
        return PREFIX + self.name

    def package(self) -> Package:
        files = {"newer.bin": newer_binary()} if self.newer else {}
        return Package(self.package_name, self.payload, self.settings, files, self.decision)


def newer_binary() -> bytes:
    """The interpreter of the tests: no host of ten years ago starts it."""
    return Path(os.path.realpath(sys.executable)).read_bytes()


# --- Checks that every attack has.


def ran(evidence: Evidence) -> List[str]:
    """An attack that did not run proves nothing."""
    if evidence.found is not None or f"REACHED {evidence.token} " in evidence.run.output:
        return []
    if evidence.message:
        expected = evidence.attack.fails or evidence.attack.may_fail
        return [] if expected else ["the step did not end well"]
    if "Traceback (most recent call last)" in evidence.run.output:
        return ["no message names it, and the build shows a traceback"]
    return ["no message names it, and nothing came out of its step"]


def reached(evidence: Evidence) -> List[str]:
    """What the script itself could get hold of."""
    noted = list(evidence.found["reached"]) if evidence.found else []
    marker = f"REACHED {evidence.token} "
    for line in evidence.run.output.splitlines():
        if marker in line:
            noted.append(line.partition(marker)[2].strip())
    return sorted(set(noted))


def message(evidence: Evidence) -> List[str]:
    """A step that fails is named by its package, with no traceback."""
    wrong = []
    if "Traceback (most recent call last)" in evidence.message:
        wrong.append("the message is a traceback")
    if evidence.attack.fails and not evidence.message and evidence.found is not None:
        wrong.append("no message names its failure")
    expected = evidence.attack.fails or evidence.attack.may_fail
    if evidence.message and not expected and evidence.place == INSTALL and evidence.found:
        wrong.append("it is refused, though it reached nothing: " + _first_line(evidence.message))
    return wrong


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0][:100]


# --- Checks that some have.


def members_of(evidence: Evidence) -> List[Member]:
    """Everything that the step gives to later steps and to releases."""
    if evidence.step is None:
        return []
    found: List[Member] = []
    for path in sorted(evidence.step.out.glob("*")):
        if path.suffix in (".tar", ".layer") and path.is_file():
            try:
                found.extend(read_members(path))
            except tarfile.TarError as error:
                info = tarfile.TarInfo(f"unreadable {path.name}: {error}")
                found.append((info, b""))
    return found


def only_own_folder(evidence: Evidence) -> List[str]:
    """Outputs hold what belongs to the step alone: files, folders, and links that stay inside."""
    wrong = []
    for info, _ in members_of(evidence):
        wrong.extend(_faults_of(info, evidence))
    for info, _ in evidence.release or ():
        if evidence.token in info.name or evidence.attack.package_name in info.name:
            wrong.extend(_faults_of(info, evidence))
    return sorted(set(wrong))


def _faults_of(info: tarfile.TarInfo, evidence: Evidence) -> List[str]:
    name, tops = info.name, evidence.tops
    wrong = []
    # A list of the layer's files, with their hashes, which the build tool adds.
    is_list = name in (".release", f".release/addon-{evidence.attack.package_name}.sha256")
    is_parent = info.isdir() and any(f"{top}/".startswith(f"{name}/") for top in tops)
    is_own = any(name == top or name.startswith(f"{top}/") for top in tops)
    if not (is_own or is_parent or is_list) or ".." in name.split("/"):
        wrong.append(f"a layer holds {name!r}")
    if info.mode & 0o7000:
        wrong.append(f"{name!r} has mode {info.mode:o}")
    if not (info.isreg() or info.isdir() or info.issym()):
        wrong.append(f"{name!r} is neither file, folder nor link")
    if info.issym() and _leads_out(name, info.linkname, tops):
        wrong.append(f"{name!r} is a link to {info.linkname!r}")
    return wrong


def _leads_out(name: str, target: str, tops: Sequence[str]) -> bool:
    place = os.path.normpath(os.path.join(os.path.dirname(name), target))
    return target.startswith("/") or not any(
        place == top or place.startswith(f"{top}/") for top in tops
    )


def facts_complete(evidence: Evidence) -> List[str]:
    """Each ELF file of the layer has facts, which tell the truth."""
    if evidence.step is None or evidence.place != INSTALL:
        return []
    layer = native_packages.layer_name(f"node_modules/{evidence.attack.package_name}")
    path = evidence.step.out / f"{layer}.elf.json"
    elves = {
        info.name
        for info, content in members_of(evidence)
        if content.startswith(b"\x7fELF") and info.name.startswith("node_modules/")
    }
    if not elves:
        return ["no ELF file is in the layer"] if evidence.found is not None else []
    if path.is_symlink() or not path.is_file():
        return [f"{path.name} is not a file"]
    told = path.read_text()
    return [f"no facts of {name}" for name in sorted(elves) if name not in told]


def audited(evidence: Evidence) -> List[str]:
    """A message names the binary that no old host loads, with the package's true name."""
    wrong = facts_complete(evidence)
    if "react@19" in evidence.run.output:
        wrong.append("the report names another package")
    return wrong


def nothing_late(evidence: Evidence) -> List[str]:
    names = [info.name for info, _ in members_of(evidence) if info.name.endswith("late.txt")]
    return ["what was written after the script had ended is in the layer"] if names else []


def layers_agree(evidence: Evidence) -> List[str]:
    """What later steps see and what a release gets is the same."""
    if evidence.step is None:
        return []
    contents = []
    for ending in (".tar", ".layer"):
        paths = list(evidence.step.out.glob(f"addon-*{ending}"))
        if paths:
            contents.append(
                {
                    info.name: data
                    for info, data in read_members(paths[0])
                    # A layer also has the list of its files.
                    if info.isreg() and not info.name.startswith(".release/")
                }
            )
    if len(contents) == 2 and contents[0] != contents[1]:
        return ["the layer of the release differs from the layer of later steps"]
    return []


def victims_alive(evidence: Evidence) -> List[str]:
    states = evidence.run.outcome.victims
    return [f"the process of {who} was ended" for who, state in states.items() if state in "XZ"]


def nothing_stopped(evidence: Evidence) -> List[str]:
    return [f"stopped: {command[:70]}" for command in evidence.run.outcome.stopped]


def no_keys(evidence: Evidence) -> List[str]:
    return [f"added to a keyring: {key}" for key in evidence.run.outcome.keys]


def no_connection(evidence: Evidence) -> List[str]:
    told = evidence.run.outcome.connections
    return [f"the machine's listener heard it: {line}" for line in told if evidence.token in line]


def nothing_typed(evidence: Evidence) -> List[str]:
    typed = evidence.run.outcome.typed
    return [f"typed {typed!r} into the terminal"] if typed else []


def no_react(evidence: Evidence) -> List[str]:
    return ["it is taken for react@19.0.0"] if "react@19" in evidence.run.output else []


def no_controls(evidence: Evidence) -> List[str]:
    """Nothing that a terminal would act on is in what the build says, other than Pants' own colours."""
    wrong = []
    for line in evidence.message.split("\n"):
        found = FORBIDDEN.search(line)
        if found:
            wrong.append(f"{found.group()!r} in {line[:80]!r}")
    return wrong[:5]


def not_poisoned(evidence: Evidence) -> List[str]:
    if f"POISONED {evidence.token}" in evidence.run.output:
        return ["code of the package ran in another program"]
    return []


def victim_unchanged(evidence: Evidence) -> List[str]:
    text = evidence.arena.victim.read_text()
    evidence.arena.victim.write_text("the text of the user who builds\n")
    return (
        []
        if text == "the text of the user who builds\n"
        else [f"a file of the user who builds says {text[:60]!r}"]
    )


def secret_kept(evidence: Evidence) -> List[str]:
    told = f"secret-{evidence.arena.run_name}" in evidence.run.output
    return ["the build shows a file of the user who builds"] if told else []


def limit_named(evidence: Evidence) -> List[str]:
    """The message says what there was too much of, and by which option to allow more."""
    wrong = []
    if not re.search(r"--slipway-step-[a-z]+-limit=|is larger than", evidence.message):
        wrong.append("no message tells of a limit")
    if evidence.run.outcome.slowest > _USABLE:
        wrong.append(f"the machine did not answer for {evidence.run.outcome.slowest:.1f} s")
    return wrong


def log_kept(evidence: Evidence) -> List[str]:
    """The log that a failed build keeps has nothing that the step could not read."""
    folder = evidence.arena.workspace.root / ".pants.d" / "slipway"
    secret = f"secret-{evidence.arena.run_name}"
    for path in folder.glob("*.log") if folder.is_dir() else ():
        if secret in path.read_text(errors="replace"):
            return [f"{path.name} has a file of the user who builds"]
    return []


def in_time(evidence: Evidence) -> List[str]:
    return ["the build did not end"] if evidence.run.outcome.timed_out else []


ALWAYS: Tuple[Check, ...] = (ran, reached, message, only_own_folder, not_poisoned)
OF_RUN: Tuple[Check, ...] = (in_time, secret_kept)


def odd(kind: str, tries: str, *checks: Check, **more: Any) -> Attack:
    return Attack(
        f"leaves-{kind}", tries, "odd_files", checks, settings={"kind": kind}, may_fail=True, **more
    )


ATTACKS: Tuple[Attack, ...] = (
    # Processes.
    Attack(
        "ptrace",
        "attaches to every process that it sees",
        "ptrace",
        places=EVERYWHERE,
        critical=True,
    ),
    Attack(
        "rewrites-at-exit",
        "attaches to the step's program and replaces its outputs when the program ends",
        "rewrite_at_exit",
        (facts_complete, layers_agree),
        newer=True,
        places=EVERYWHERE,
        critical=True,
    ),
    Attack(
        "memory",
        "reads and writes the memory of other processes",
        "memory_of_others",
        places=EVERYWHERE,
        critical=True,
    ),
    Attack(
        "proc",
        "reads environment, memory maps, folders and files of other processes",
        "look_at_others",
        places=EVERYWHERE,
    ),
    Attack(
        "descriptors",
        "copies open files out of other processes, and uses inherited ones",
        "take_descriptors",
        places=EVERYWHERE,
        critical=True,
    ),
    Attack(
        "daemon",
        "leaves a daemon that rewrites the package while Slipway collects the package",
        "daemon",
        (nothing_late, facts_complete, layers_agree),
        newer=True,
        places=(INSTALL, BUILD),
        critical=True,
    ),
    Attack(
        "kill",
        "kills every process that it sees, with each system call for it",
        "kill_all",
        (victims_alive,),
        batch=HARM,
        may_fail=True,
        critical=True,
    ),
    Attack(
        "stop",
        "stops every process that it sees",
        "stop_all",
        (nothing_stopped, victims_alive),
        batch=HARM,
        may_fail=True,
    ),
    Attack(
        "limits",
        "sets limits, priority and CPUs of other processes",
        "limit_others",
        batch=HARM,
        may_fail=True,
    ),
    Attack(
        "hydra",
        "leaves processes that constantly replace themselves",
        "hydra",
        batch=HARM,
        may_fail=True,
        critical=True,
    ),
    Attack(
        "keeps-output",
        "leaves daemons that hold its output open",
        "keep_output",
        places=(INSTALL, BUILD),
    ),
    # Files.
    Attack(
        "output-file",
        "truncates, reopens and changes the mode of the file that receives its output",
        "output_file",
        places=EVERYWHERE,
    ),
    Attack(
        "writes-around",
        "writes to inputs, programs, runtime, outputs and the system",
        "write_around",
        places=EVERYWHERE,
        critical=True,
    ),
    Attack(
        "forged-reports",
        "forges the step's reports, and its own name",
        "forge_reports",
        (audited,),
        batch=HARM,
        newer=True,
        places=EVERYWHERE,
    ),
    Attack(
        "forged-failure",
        "fails with a forged report of the network guard",
        "forge_report_and_fail",
        (no_react,),
        fails=True,
        critical=True,
    ),
    Attack(
        "report-link",
        "fails and leaves a symlink to a file of the user instead of the guard's report",
        "link_at_report",
        (victim_unchanged,),
        fails=True,
        places=(INSTALL, BUILD),
        critical=True,
    ),
    Attack(
        "report-fifo",
        "fails and leaves a FIFO instead of the guard's report",
        "link_at_report",
        (in_time,),
        batch=ALONE,
        settings={"kind": "fifo"},
        fails=True,
        places=(BUILD,),
        critical=True,
    ),
    Attack(
        "log-link",
        "fails and leaves a symlink to a file of the user instead of the step's log",
        "link_at_log",
        (log_kept,),
        batch=ALONE,
        places=(MAKE,),
        fails=True,
    ),
    odd("fifo", "leaves a FIFO in its folder"),
    odd("socket", "leaves a socket in its folder"),
    odd("device", "leaves device files in its folder"),
    odd("set-id", "leaves set-user-ID and set-group-ID files and folders"),
    odd("links", "leaves symlinks to the machine, the outputs and other packages"),
    odd("names", "leaves names with line breaks and escape codes", no_controls),
    odd("bytes", "leaves names that are not UTF-8", no_controls),
    odd("deep", "leaves folders whose depth exceeds the maximum length of a path"),
    odd("locked", "leaves folders that nobody may enter or remove"),
    odd("swapped", "replaces its folder with a symlink to /etc"),
    odd("top-swapped", "replaces the whole application with a symlink to /"),
    Attack(
        "hard-links", "links inputs and programs into its folder, and writes to them", "hard_links"
    ),
    Attack("poison", "leaves modules, .pth files and .npmrc for other programs to load", "poison"),
    Attack("traces", "leaves files and System V objects for other steps", "leave_traces"),
    # What it can reach.
    Attack(
        "loopback-server",
        "requests files of other packages from the step's server, and takes its port",
        "ask_server",
    ),
    Attack(
        "asks-with-escapes",
        "requests a name with escape codes from the step's server",
        "ask_with_escapes",
        (no_controls,),
        decision="prebuilt",
        fails=True,
    ),
    Attack(
        "machine-loopback",
        "connects to a port and to Unix sockets of the machine, and receives a file there",
        "machine_loopback",
        (no_connection,),
        places=EVERYWHERE,
    ),
    Attack(
        "guard-race",
        "changes an address in memory after the guard has checked it",
        "race_the_guard",
        (no_connection,),
        may_fail=True,
    ),
    Attack(
        "io-uring",
        "opens an io_uring and connects through it",
        "io_uring",
        (no_connection,),
        places=EVERYWHERE,
        critical=True,
    ),
    Attack("other-abi", "makes system calls through the i386 and x32 interfaces", "other_abi"),
    Attack("mountinfo", "reads the paths of the step's files on the machine", "mountinfo"),
    Attack(
        "kernel-files", "reads the kernel's command line, keys, sockets and memory", "kernel_files"
    ),
    Attack(
        "keyring",
        "reads and adds keys of the user",
        "keyring",
        (no_keys,),
        places=EVERYWHERE,
        critical=True,
    ),
    Attack(
        "user-namespace",
        "makes read-only mounts writable in a new user namespace",
        "user_namespace",
    ),
    Attack("leaves-root", "leaves its root through chroot, /proc and file handles", "leave_root"),
    Attack("privileges", "makes system calls that only root may make", "privileges"),
    Attack("terminal", "types into the terminal of the user", "terminal", (nothing_typed,)),
    # What the build says.
    Attack(
        "forged-name",
        "tries to reach a host under the name of react, with escape codes",
        "forge_name",
        (no_react, no_controls),
        fails=True,
        critical=True,
    ),
    Attack(
        "escapes",
        "prints escape codes for clipboard, title and screen, and fails",
        "escapes",
        (no_controls,),
        fails=True,
        critical=True,
    ),
)


def exhausting(kind: str, tries: str) -> Attack:
    return Attack(
        *(f"takes-{kind}", tries, "exhaust", (limit_named,)),
        batch=EXHAUST,
        settings={"kind": kind},
        fails=True,
    )


EXHAUSTING: Tuple[Attack, ...] = (
    exhausting("processes", "starts processes without end"),
    exhausting("memory", "takes memory without end"),
    exhausting("memory-of-many", "takes memory in many small processes"),
    exhausting("package", "fills its package's folder with one large file"),
    exhausting("tmp", "fills temporary folders"),
    exhausting("hidden", "fills a temporary file that has no name"),
    exhausting("entries", "makes 400,000 files"),
    exhausting("sparse", "leaves a file of 1 TB that is one hole"),
    exhausting("output", "prints 2 GB of lines"),
    exhausting("long-line", "prints 2 GB in one line"),
)
"""One build for each: it ends in one message, with a machine that can be used meanwhile."""

ALL_TOGETHER = "all together"
"""The row for results that cannot be attributed to a single attack."""
LOOKS_AROUND = f"{BYSTANDER}-who-looks"


def bystanders(number: int) -> List[Package]:
    """Packages that mean no harm; another number makes their steps run again."""
    return [
        Package(BYSTANDER, "bystander", {"seconds": 12, "number": number}),
        Package(LOOKS_AROUND, "find_traces", {"seconds": 8, "number": number}),
    ]


def late_bystander(number: int) -> Package:
    """A package that looks for what others have left, once all of them are done."""
    return Package(LOOKS_AROUND, "find_traces", {"seconds": 0, "number": -1 - number})


# --- What is not protected.

_GUARD_ALONE = (
    "If no network namespace can be made, the guard is the only protection of the machine's network. "
    "A process can change an address in its memory after the guard has checked it."
)
_LOOPBACK = (
    "A job in a container shares folders of its machine, with the sockets in them. With a plain user, "
    "the scripts also share the loopback interface."
)
_SAME_USER = (
    "If a job runs as user 1000, its scripts run as the same user as the build tool and the rest of "
    "the job. The kernel lets them signal its processes and read those that can be traced."
)
_SAME_FILES = (
    "If a job runs as user 1000, its scripts may write to every file of that user: outputs, inputs "
    "and programs of steps, temporary folders."
)
_OWN_MACHINE = "With the isolator `inside`, the root of a step is the job's machine, and scripts can read its files."
_FACTS = "The kernel shows each process the paths of its files on the machine, and the kernel's command line."
_CONTAINER_TERMINALS = "A container has its own pseudo-terminals, which are not connected to a terminal of the machine."
_INSIDE = ("inside as root", INSIDE_PLAIN)
_OPEN: Sequence[Tuple[str, Sequence[str], Sequence[str]]] = (
    (_GUARD_ALONE, ("guard-race",), (INSIDE_PLAIN,)),
    (_LOOPBACK, ("machine-loopback",), _INSIDE),
    (_SAME_USER, ("kill", "stop", "limits", "hydra", "memory", "proc"), (INSIDE_PLAIN,)),
    (
        _SAME_FILES,
        (
            *("writes-around", "forged-reports", "poison", "hard-links", "traces", "output-file"),
            *("forged-failure", "report-link", "report-fifo", ALL_TOGETHER),
        ),
        (INSIDE_PLAIN,),
    ),
    (_OWN_MACHINE, ("leaves-root",), _INSIDE),
    (_FACTS, ("mountinfo",), ("namespaces as root", "namespaces as a plain user", *_INSIDE)),
    (_FACTS, ("kernel-files",), ("docker", *_INSIDE)),
    (_CONTAINER_TERMINALS, ("terminal",), ("docker",)),
)
NOT_PROTECTED: Mapping[Tuple[str, str], str] = {
    (attack, arena): reason
    for reason, attacks, arenas in _OPEN
    for attack in attacks
    for arena in arenas
}


def reason_of(attack: str, arena: str) -> str:
    """Why an attack is not prevented in an arena; empty where it must be."""
    return NOT_PROTECTED.get((attack, arena), "")


def collect(
    arena: Arena,
    run: Run,
    attack: Attack,
    place: str = INSTALL,
    release: Optional[Sequence[Member]] = None,
) -> Evidence:
    name = attack.package_name if place == INSTALL else _PROGRAMS[place]
    report = "found.json" if place == INSTALL else f"{attack.package_name}.json"
    step = run.step_of(name)
    found = None
    if step is not None:
        try:
            found = step.found(report)
        except (tarfile.TarError, json.JSONDecodeError, OSError):
            found = None
    text = run.message_of(attack.package_name) if place == INSTALL else "\n".join(run.messages)
    return Evidence(attack, place, arena, run, step, found, text, release)


def of_run(run: Run, arena: Arena) -> List[str]:
    """What is wrong after a build as a whole, whichever attack did it."""
    wrong = [f"left a process: {command[:100]}" for command in run.outcome.leftovers]
    wrong.extend(f"left {path}" for path in run.traces)
    wrong.extend(
        f"ended the process of {who}" for who, state in run.outcome.victims.items() if state in "XZ"
    )
    if run.outcome.timed_out:
        wrong.append("the build did not end")
    if f"secret-{arena.run_name}" in run.output:
        wrong.append("the build shows a file of the user who builds")
    if "Traceback (most recent call last)" in run.output:
        wrong.append("the build shows a traceback")
    for line in run.output.split("\n"):
        found = FORBIDDEN.search(line)
        if found:
            wrong.append(f"the build prints {found.group()!r}")
            break
    return wrong
