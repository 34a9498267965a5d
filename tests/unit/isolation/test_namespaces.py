"""What a command inside a root file system sees, may do and leaves behind.

The root is made of this machine's own /usr, so that the tests need no image; `namespaces.run`
changes the process that calls it, so each call has a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import pytest

from tests.places import SOURCES

NOBODY = 65534
ENV = {"PATH": "/usr/bin:/bin", "HOME": "/home/build", "CANARY": "1"}
_DRIVER = """\
import json, sys
sys.path.insert(0, sys.argv[1])
from slipway.isolation import job as isolation; from slipway.isolation import namespaces
from slipway.isolation.first_process import Bounds
from slipway.isolation.resource_limits import Limits
asked = json.loads(sys.argv[2])
mounts = [isolation.Mount(*one) for one in asked["mounts"]]
command = isolation.Command(
    tuple(asked["argv"]), asked["env"], asked["cwd"], foreign=asked["foreign"]
)
limits = Limits(memory=1 << 28, processes=50, space=1 << 26, inodes=2000)
bounds = Bounds(limits, isolation.WRITABLE_FOLDERS)
try:
    status = namespaces.run(asked["root"], mounts, command, asked["limit"], bounds)
    print(f"status {status}", file=sys.stderr)
except Exception as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
"""


@dataclass(frozen=True)
class Ended:
    """`verdict` is the driver's last line: `status N`, or the exception with its text."""

    verdict: str
    out: str
    err: str


@dataclass
class Machine:
    """A root file system, a folder of inputs and one for outputs, and who enters it."""

    folder: Path
    user: Optional[int] = None
    python: str = sys.executable
    more: List[Tuple[str, str, bool]] = field(default_factory=list)
    before: Sequence[str] = ()
    cwd: str = "/build"
    foreign: bool = False

    @property
    def mounts(self) -> List[Tuple[str, str, bool]]:
        system = [("/usr", "/usr", False)]
        system += [
            (f"/{name}", f"/{name}", False)
            for name in ("bin", "lib", "lib64")
            if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")
        ]
        return [
            *system,
            (str(self.folder / "in"), "/build/in", False),
            (str(self.folder / "out"), "/build/out", True),
            *self.more,
        ]

    def command(
        self, argv: Sequence[str], limit: Optional[float], env: Dict[str, str]
    ) -> List[str]:
        asked = {
            "root": str(self.folder / "root"),
            "mounts": self.mounts,
            "argv": list(argv),
            "env": env,
            "limit": limit,
            "cwd": self.cwd,
            "foreign": self.foreign,
        }
        python = [self.python, "-I", "-S", "-B", "-c", _DRIVER]
        return [*self.before, *python, str(self.folder), json.dumps(asked)]

    def run(
        self, *argv: str, limit: Optional[float] = 60, env: Optional[Dict[str, str]] = None
    ) -> Ended:
        done = subprocess.run(
            self.command(argv, limit, ENV if env is None else env),
            capture_output=True,
            input="not for the command",
            text=True,
            check=False,
            preexec_fn=self._become,
        )
        *lines, verdict = done.stderr.splitlines()
        return Ended(verdict, done.stdout, "\n".join(lines))

    def sh(self, script: str, limit: Optional[float] = 60) -> Ended:
        return self.run("/bin/sh", "-c", script, limit=limit)

    def _become(self) -> None:
        os.umask(0o077)
        if self.user is not None:
            os.setgroups([])
            os.setgid(self.user)
            os.setuid(self.user)


def make_machine(folder: Path) -> Machine:
    # Readable for everybody, as the folders of pytest are not.
    folder.chmod(0o755)
    shutil.copytree(
        SOURCES / "slipway", folder / "slipway", ignore=shutil.ignore_patterns("__pycache__")
    )
    root = folder / "root"
    for name in ("usr", "bin", "lib", "lib64", "etc", "proc", "dev", "build", "tmp", "home"):
        if os.path.islink(f"/{name}"):
            root.mkdir(exist_ok=True)
            (root / name).symlink_to(os.readlink(f"/{name}"))
        else:
            (root / name).mkdir(parents=True)
    (root / "etc" / "passwd").write_text("build:x:1000:1000::/home/build:/bin/sh\n")
    for name in ("in", "out"):
        (folder / name).mkdir()
    (folder / "in" / "file").write_text("an input\n")
    return Machine(folder)


def run_as_nobody(python: str) -> bool:
    def become() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    try:
        return (
            subprocess.run([python, "-I", "-S", "-c", ""], preexec_fn=become, check=False)
        ).returncode == 0
    except OSError:
        return False


@pytest.fixture(params=["this user", "a plain user"])
def machine(request: Any) -> Iterator[Machine]:
    with tempfile.TemporaryDirectory() as folder:
        made = make_machine(Path(folder))
        if request.param == "a plain user":
            if os.geteuid() != 0:
                pytest.skip("only root can become another user; this user is a plain one already")
            own = [sys.executable, os.path.realpath(sys.executable), "/usr/bin/python3"]
            found = [python for python in own if run_as_nobody(python)]
            assert found, "no Python here that another user may run"
            made.user, made.python = NOBODY, found[0]
            os.chown(made.folder / "out", NOBODY, NOBODY)
        yield made


def test_a_step_is_an_ordinary_user_in_a_fixed_place(machine: Machine) -> None:
    ended = machine.sh(
        "id -u; id -g; hostname; umask; pwd; ulimit -c; env | grep -v ^PWD= | sort; cat"
    )
    assert ended.verdict == "status 0", ended
    assert ended.out.split("\n") == [
        *("1000", "1000", "build", "0022", "/build", "0"),
        *("CANARY=1", "HOME=/home/build", "PATH=/usr/bin:/bin", ""),
    ]


def test_root_and_inputs_are_read_only_and_outputs_arrive(machine: Machine) -> None:
    ended = machine.sh(
        "for path in /new /etc/passwd /usr/new /build/in/file /build/in/new; do"
        '  { echo changed >"$path"; } 2>/dev/null && echo "wrote $path"; done;'
        "chmod 777 /build/in/file 2>/dev/null && echo changed a mode;"
        "rm -f /etc/passwd 2>/dev/null; mv /etc /etc2 2>/dev/null && echo moved a folder;"
        "for path in /build/x /tmp/x /home/build/x /dev/shm/x /build/out/result; do"
        '  echo made >"$path" || echo "could not write $path"; done'
    )
    assert (ended.verdict, ended.out, ended.err) == ("status 0", "", "")
    result = machine.folder / "out" / "result"
    assert result.read_text() == "made\n"
    assert result.stat().st_uid == (os.geteuid() if machine.user is None else machine.user)
    assert result.stat().st_mode & 0o777 == 0o644
    assert (machine.folder / "in" / "file").read_text() == "an input\n"
    left = {path.name for path in (machine.folder / "root").iterdir()}
    assert left == {"usr", "bin", "lib", "lib64", "etc", "proc", "dev", "build", "tmp", "home"}
    assert not any((machine.folder / "root" / "dev").iterdir())


def test_a_second_step_starts_with_empty_folders(machine: Machine) -> None:
    machine.sh("echo left >/build/x; echo left >/tmp/x; echo left >/home/build/x")
    assert machine.sh("ls -A /build /tmp /home/build").out.split() == [
        *("/build:", "in", "out", "/home/build:", "/tmp:")
    ]


def test_the_network_is_the_loopback_alone(machine: Machine) -> None:
    ended = machine.run(
        "/bin/bash",
        "-c",
        "tail -n +3 /proc/net/dev | cut -d: -f1;"
        "for host in 127.0.0.1 192.0.2.1; do (: <>/dev/tcp/$host/9) 2>&1 | grep -o 'refused\\|unreachable' | head -1; done",
    )
    assert ended.out.split() == ["lo", "refused", "unreachable"]


def test_proc_shows_only_the_step_and_takes_no_writes(machine: Machine) -> None:
    ended = machine.sh(
        "set -- /proc/[0-9]*; echo $#; { echo 1 >/proc/sys/vm/drop_caches; } 2>&1;"
        "grep -E '^(NoNewPrivs|CapEff|CapPrm):' /proc/self/status"
    )
    count, refusal, *status = ended.out.splitlines()
    assert int(count) <= 3
    assert "Read-only file system" in refusal or "Permission denied" in refusal
    assert [line.split()[1] for line in status] == ["0" * 16, "0" * 16, "1"]


def test_the_machine_cannot_be_mounted_or_reached(machine: Machine) -> None:
    ended = machine.sh(
        "mount -t tmpfs none /tmp 2>/dev/null && echo mounted;"
        f"ls {machine.folder} 2>/dev/null; ls /root /sys /run 2>/dev/null; ls /dev | sort"
    )
    names = "fd full null random shm stderr stdin stdout urandom zero"
    assert ended.out.split() == names.split()


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 7", 7),
        ("kill -TERM $$", 143),
        ("kill -9 $$", 137),
        ("yes | head -1 >/build/out/y", 0),
    ],
)
def test_the_exit_status_is_the_commands_own(machine: Machine, script: str, status: int) -> None:
    assert machine.sh(script).verdict == f"status {status}"


def test_a_closed_pipe_ends_a_writer_silently(machine: Machine) -> None:
    ended = machine.run("/bin/bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}")
    assert (ended.out.split(), ended.err) == (["y", "141"], "")


def test_what_the_command_leaves_behind_ends_with_it(machine: Machine) -> None:
    ended = machine.sh("setsid sleep 7654321 & setsid sleep 7654321 & exit 3")
    assert ended.verdict == "status 3"
    assert not processes("7654321")


def test_a_step_beyond_its_time_limit_is_ended_with_its_children(machine: Machine) -> None:
    started = time.monotonic()
    ended = machine.sh("trap '' TERM INT HUP; setsid sleep 7654322 & sleep 7654322", limit=0.5)
    assert ended.verdict.startswith("TimeLimitReached")
    assert time.monotonic() - started < 20
    assert not processes("7654322")


def test_without_a_time_limit_a_step_runs_on(machine: Machine) -> None:
    assert machine.run("/bin/sleep", "0.1", limit=None).verdict == "status 0"


def test_a_killed_caller_takes_the_step_with_it(machine: Machine) -> None:
    argv = machine.command(["/bin/sh", "-c", "sleep 7654323 & sleep 7654323"], None, ENV)
    with subprocess.Popen(argv, preexec_fn=machine._become) as caller:  # noqa: PLW1509
        wait_until(lambda: len(processes("7654323")) >= 2)
        caller.send_signal(signal.SIGKILL)
    wait_until(lambda: not processes("7654323"))


def test_a_single_file_can_be_an_input(machine: Machine) -> None:
    machine.more.append((str(machine.folder / "in" / "file"), "/build/alone", False))
    assert machine.sh("cat /build/alone; { echo x >/build/alone; } 2>/dev/null").out == "an input\n"


def test_a_command_that_is_not_in_the_root_is_named(machine: Machine) -> None:
    ended = machine.run("/usr/bin/no-such-program")
    assert ended.verdict == "CommandNotStarted: /usr/bin/no-such-program: No such file or directory"


def test_a_machine_without_user_namespaces_is_recognised(machine: Machine) -> None:
    if machine.user is not None:
        pytest.skip("unshare below makes a namespace as the test's own user; once is enough")
    machine.before = [
        *("unshare", "--user", "--map-root-user", "sh", "-c"),
        'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"',
        "sh",
    ]
    ended = machine.sh("echo never >/build/out/never")
    assert ended.verdict == "IsolationRefused: unshare of namespaces: No space left on device"
    assert not list((machine.folder / "out").iterdir())


def test_a_root_without_a_mount_point_is_told_by_its_path(machine: Machine) -> None:
    (machine.folder / "root" / "home").rmdir()
    verdict = machine.sh("true").verdict
    assert verdict.startswith("IsolationRefused: mount of ")
    assert verdict.endswith("/root/home: No such file or directory")


def processes(mark: str) -> List[str]:
    """The processes of this machine that have `mark` as an argument."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in arguments:
            found.append(pid)
    return found


def wait_until(reached: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


@pytest.fixture
def jailed(machine: Machine) -> Machine:
    """The same machine, for foreign commands."""
    machine.foreign, machine.cwd = True, "/build/work"
    return machine


OVER_A_LIMIT = {
    "processes": ("while :; do sleep 100 & done", "started more than 50 processes and threads"),
    "memory": ("exec tail /dev/zero", "used more than 268.4 MB of memory"),
    "space": ("exec yes >file", "wrote more than 67.1 MB of files"),
    "space of all folders": (
        "for folder in . /tmp /dev/shm ~; do head -c 30000000 /dev/zero >$folder/file; done; sleep 9",
        "wrote more than 67.1 MB of files",
    ),
    "files": (
        "i=0; while :; do i=$((i+1)); : >$i 2>/dev/null || exit 1; done",
        "created more than 2,000 files and folders",
    ),
}


@pytest.mark.parametrize("limit", OVER_A_LIMIT)
def test_a_command_that_goes_over_a_limit_is_ended_with_one_message(
    jailed: Machine, limit: str
) -> None:
    script, words = OVER_A_LIMIT[limit]
    ended = jailed.sh(script)
    assert ended.verdict == "status 1"
    (first, *_) = [line for line in ended.err.splitlines() if "the command" in line]
    # The command may have begun a line when it was ended.
    assert first.endswith(f'the command "sh" {words}')
    assert "next:  if the package needs more, raise the limit: --slipway-step-" in ended.err
    assert not list((jailed.folder / "out").iterdir())


def test_a_foreign_command_reaches_neither_outputs_nor_programs_nor_what_is_above(
    jailed: Machine,
) -> None:
    ended = jailed.sh(
        "for path in /build/new /build/out/new /build/in/new /dev/new /proc/1/oom_score_adj; do"
        '  { echo x >"$path"; } 2>/dev/null && echo "wrote $path"; done;'
        "for path in work/new /tmp/new /dev/shm/new ~/new; do"
        '  { cd /build; echo x >"$path"; } || echo "could not write $path"; done;'
        "ls -A /build/out; set -- /proc/[0-9]*; echo $#; kill -9 1 2>&1; cat /proc/cmdline"
    )
    assert (ended.verdict, ended.err) == ("status 0", "")
    assert int(ended.out) <= 4


def test_a_foreign_command_has_a_session_keyring_of_its_own(jailed: Machine) -> None:
    """The kernel's own list of keys is hidden too, as engines have it."""
    ended = jailed.sh("cat /proc/keys /proc/key-users; echo end")
    assert ended.out == "end\n"
