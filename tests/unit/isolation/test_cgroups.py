"""Cgroups that the kernel enforces limits by, of either version, whichever this machine has.

What is found is tested with texts of real machines, and with folders laid out as the kernel does;
what is enforced needs real cgroups, and is skipped where this process may make none.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

import pytest

from slipway.isolation import cgroup_places, cgroups
from slipway.isolation.cgroup_places import (
    Place,
    find_parent,
    find_places,
    machine_memory,
    own_places,
)
from slipway.isolation.cgroups import Cgroup, sweep
from slipway.isolation.resource_limits import Limits
from tests.places import SOURCES
from tests.unit.isolation.step_processes import MB, running, wait_for, wait_ready

LIMITS = Limits(memory=150 * MB, processes=20, space=1 << 40, inodes=1 << 40)
EATER = "data = bytearray()\nwhile True: data += bytes([1]) * 1_000_000"
MULTIPLIER = """
import os, time
while True:
    try:
        if os.fork() == 0: time.sleep(300)
    except OSError:
        time.sleep(0.01)
"""


# --- What this process is in.

V1 = """\
30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/memory rw,nosuid shared:10 - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/pids rw,nosuid shared:11 - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
"""
V1_OWN = "8:pids:/\n4:memory:/jobs/7\n1:name=systemd:/\n0::/\n"


def test_version_1_has_a_place_for_each_controller() -> None:
    assert find_places(V1_OWN, V1) == [
        Place(1, ("memory",), "/sys/fs/cgroup/memory/jobs/7", "/sys/fs/cgroup/memory"),
        Place(1, ("pids",), "/sys/fs/cgroup/pids", "/sys/fs/cgroup/pids"),
        Place(2, ("memory", "pids"), "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified"),
    ]


def test_version_2_has_one_place() -> None:
    mounts = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    own = "0::/user.slice/user-7.slice/session-2.scope\n"
    folder = "/sys/fs/cgroup/user.slice/user-7.slice/session-2.scope"
    assert find_places(own, mounts) == [Place(2, ("memory", "pids"), folder, "/sys/fs/cgroup")]


@pytest.mark.parametrize(
    ("own", "root", "folder"),
    [
        ("/docker/ab", "/docker/ab", "/c"),  # a container that sees its part only
        ("/docker/ab/x", "/docker/ab", "/c/x"),
        ("/docker/ab", "/docker/xy", None),  # a mount of some other part
        ("/../other", "/", None),  # outside of the cgroup namespace
        ("/docker/ab", "/", "/c/docker/ab"),
    ],
)
def test_a_mount_may_show_a_part_of_the_hierarchy(
    own: str, root: str, folder: Optional[str]
) -> None:
    places = find_places(
        f"4:memory:{own}\n", f"32 30 0:28 {root} /c rw - cgroup cgroup rw,memory\n"
    )
    assert [place.folder for place in places] == ([folder] if folder else [])


@pytest.mark.parametrize("mountinfo", ["", "x\n", " - cgroup cgroup\n", "1 2 3:4 / /a - cgroup\n"])
def test_lines_of_another_form_are_passed_over(mountinfo: str) -> None:
    assert find_places("4:memory:/\nx\n0::/\n", mountinfo) == []


def tree(folder: Path, files: Dict[str, str]) -> Place:
    """A hierarchy of version 2 with this process in a/b/c, as far as files tell of one."""
    (folder / "a/b/c").mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return Place(2, ("memory", "pids"), str(folder / "a/b/c"), str(folder))


@pytest.mark.parametrize(
    ("files", "parent"),
    [
        ({}, None),
        ({"cgroup.subtree_control": "cpu memory pids\n"}, ""),
        ({"cgroup.subtree_control": "memory pids", "a/cgroup.subtree_control": "pids memory"}, "a"),
        ({"cgroup.subtree_control": "memory pids", "a/b/cgroup.subtree_control": "pids"}, ""),
        ({"a/cgroup.subtree_control": "pids io"}, "a"),
        ({"cgroup.subtree_control": "memory pids", "a/b/c/memory.max": "1000000\n"}, None),
        ({"cgroup.subtree_control": "memory pids", "a/b/cpu.max": "50000 100000\n"}, None),
        ({"cgroup.subtree_control": "memory pids", "a/b/cpu.max": "max 100000\n"}, ""),
    ],
)
def test_version_2_takes_the_nearest_ancestor_that_hands_controllers_down(
    files: Dict[str, str], parent: Optional[str], tmp_path: Path
) -> None:
    place = tree(tmp_path, files)
    assert find_parent(place) == (None if parent is None else str(tmp_path / parent).rstrip("/"))


def test_the_memory_of_the_machine_is_that_of_the_cgroup_if_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tree(tmp_path, {"a/memory.max": "1000000\n", "a/b/memory.max": "max\n"})
    monkeypatch.setattr(cgroup_places, "own_places", lambda: [place])
    assert machine_memory() == 1_000_000
    monkeypatch.setattr(cgroup_places, "own_places", list)
    assert machine_memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_folders_that_refuse_leave_all_to_polling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Plain folders: a limit is written into a file that the kernel did not make.
    place = tree(tmp_path, {"cgroup.subtree_control": "memory pids"})
    monkeypatch.setattr(cgroups, "own_places", lambda: [place])
    with Cgroup.make(LIMITS) as cgroup:
        assert cgroup.enforced == frozenset()
        assert cgroup.exceeded() is None
        assert cgroup.pids() == []
    assert not list(tmp_path.glob("slipway-*"))


# --- What the kernel enforces.


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with Cgroup.make(LIMITS) as made:
        yield made


def need(cgroup: Cgroup, kind: str) -> None:
    if kind not in cgroup.enforced:
        pytest.skip(f"this process may make no cgroup here that limits {kind}")


def folders(pid: int) -> Tuple[str, ...]:
    """The cgroups of Slipway that a process is in."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return tuple(line for line in lines if "/slipway-" in line)


def made_by(pid: int) -> Tuple[str, ...]:
    """The cgroups of Slipway that a process made and that are left; builds make others meanwhile."""
    parents = [find_parent(place) for place in own_places()]
    return tuple(
        str(path) for parent in parents if parent for path in Path(parent).glob(f"slipway-{pid}-*")
    )


def test_a_step_that_takes_too_much_memory_is_ended_by_the_kernel(cgroup: Cgroup) -> None:
    need(cgroup, "memory")
    assert cgroup.exceeded() is None
    with running(EATER, join=cgroup.add) as process:
        assert process.wait(20) == -signal.SIGKILL
        assert cgroup.exceeded() == "memory"


def test_files_in_memory_count_for_the_step_that_writes_them(cgroup: Cgroup) -> None:
    need(cgroup, "memory")
    program = "import os\nf = os.memfd_create('x')\nwhile True: os.write(f, bytes(1_000_000))"
    with running(program, join=cgroup.add) as process:
        assert process.wait(20) == -signal.SIGKILL
        assert cgroup.exceeded() == "memory"


def test_a_step_that_multiplies_reaches_its_limit_and_nothing_of_it_is_left(cgroup: Cgroup) -> None:
    need(cgroup, "processes")
    with running(MULTIPLIER, join=cgroup.add) as process:
        assert wait_for(cgroup.exceeded) == "processes"
        pids = cgroup.pids()
        assert len(pids) == LIMITS.processes
        cgroup.close()
        process.wait(20)
        assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}") and folders(pid)]
    assert not made_by(os.getpid())


def test_children_of_a_step_are_in_its_cgroups_too(cgroup: Cgroup) -> None:
    need(cgroup, "memory")
    program = "import os\nif os.fork(): print('ready', flush=True)\nimport time; time.sleep(300)"
    with running(program, join=cgroup.add) as process:
        wait_ready(process)
        assert wait_for(lambda: len(cgroup.pids()) == 2)
        assert all(folders(pid) for pid in cgroup.pids())
    assert folders(os.getpid()) == ()


def test_a_step_within_its_limits_is_left_alone(cgroup: Cgroup) -> None:
    with running("print('ready', flush=True)", join=cgroup.add) as process:
        wait_ready(process)
        assert process.wait(20) == 0
    assert cgroup.exceeded() is None


def test_it_works_behind_a_chroot(cgroup: Cgroup, tmp_path: Path) -> None:
    need(cgroup, "memory")
    if os.geteuid() != 0:
        pytest.skip("only root may call chroot")
    child = os.fork()
    if child == 0:
        try:
            os.chroot(tmp_path)
            os.chdir("/")
            cgroup.add()
            os._exit(0 if cgroup.pids() and cgroup.exceeded() is None else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_a_cgroup_of_a_killed_run_is_swept_by_the_next(cgroup: Cgroup) -> None:
    need(cgroup, "memory")
    program = f"""
import sys, time
sys.path.insert(0, {str(SOURCES)!r})
from slipway.isolation.cgroups import Cgroup
from slipway.isolation.resource_limits import Limits
cgroup = Cgroup.make(Limits(10**8, 20, 1, 1))
print("ready", flush=True)
time.sleep(300)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        wait_ready(process)
        left = set(made_by(process.pid))
        assert left
        for path in left:  # alive: it stays, though it is empty
            sweep(os.path.dirname(path))
        assert set(made_by(process.pid)) == left
        process.kill()
    with Cgroup.make(LIMITS):
        assert not made_by(process.pid)


def test_an_empty_cgroup_that_stays_busy_for_a_moment_is_removed(cgroup: Cgroup) -> None:
    need(cgroup, "memory")
    with running("print('ready', flush=True)\nwhile True: pass", join=cgroup.add) as process:
        wait_ready(process)
        begun = time.monotonic()
        cgroup.close()
        assert time.monotonic() - begun < 2
        assert process.wait(20) == -signal.SIGKILL
    assert not made_by(os.getpid())


def test_the_limits_that_an_engine_sets_are_seen_from_inside(cgroup: Cgroup) -> None:
    need(cgroup, "memory")
    child = os.fork()
    if child == 0:
        try:
            cgroup.add()
            inside = Cgroup.of_this_process()
            ok = "memory" in inside.enforced and inside.exceeded() is None
            if machine_memory() > LIMITS.memory:
                os._exit(2)
            inside.close()
            os._exit(0 if ok else 1)
        finally:
            os._exit(3)
    assert os.waitpid(child, 0)[1] == 0
    assert "memory" not in Cgroup.of_this_process().enforced or machine_memory() < 1 << 60


def test_a_process_that_is_gone_cannot_be_added(cgroup: Cgroup) -> None:
    need(cgroup, "memory")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(ProcessLookupError):
        cgroup.add(child)
