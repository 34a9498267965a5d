"""The monitor with real processes that use up a resource, without cgroups."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import List, Sequence

import pytest

from slipway.isolation import process_use
from slipway.isolation.cgroups import Cgroup
from slipway.isolation.process_use import Machine, count_tasks, exact_memory, resident_memory
from slipway.isolation.resource_limits import Breach, Limits
from slipway.isolation.resource_monitor import Monitor
from slipway.isolation.space_use import Space, find_spaces
from tests.places import SOURCES
from tests.unit.isolation.step_processes import (
    MB,
    group_of,
    running,
    wait_for,
    wait_ready,
    with_tmpfs,
)

LIMITS = Limits(memory=150 * MB, processes=30, space=1 << 40, inodes=1 << 40)


def watch(process: subprocess.Popen[bytes], limits: Limits = LIMITS) -> Monitor:
    return Monitor(limits, group_of(process))


def first_breach(monitor: Monitor, seconds: float = 20) -> Breach:
    """Looks as often as the monitor advises."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        breach = monitor.look()
        if breach:
            return breach
        time.sleep(monitor.interval)
    raise AssertionError("no breach")


# --- Memory.


@pytest.mark.parametrize(
    "program",
    [
        "data = bytearray()\nwhile len(data) < 400_000_000: data += bytes([1]) * 1_000_000",
        # In many children, none of which has much.
        """
import os
for i in range(20):
    if os.fork() == 0:
        data = bytes([1]) * 20_000_000
        time.sleep(300)
""",
        # A file in memory that only a descriptor leads to, written and never mapped.
        "f = os.memfd_create('x')\nfor i in range(300): os.write(f, bytes(1_000_000))",
        # A file in memory that is mapped, but not touched there, and not open any more.
        """
f = os.memfd_create('x')
for i in range(300): os.write(f, bytes(1_000_000))
m = mmap.mmap(f, 300_000_000)
os.close(f)
del f
""",
        # Shared memory that the process wrote, and dropped from its own page tables.
        """
m = mmap.mmap(-1, 300_000_000)
for i in range(0, 300_000_000, 4096): m[i] = 1
m.madvise(mmap.MADV_DONTNEED)
""",
    ],
    ids=["pages", "children", "memfd", "mapped memfd", "dropped pages"],
)
def test_a_step_that_takes_too_much_memory_is_found(program: str) -> None:
    if "MADV" in program and sys.version_info < (3, 8):
        pytest.skip("Python 3.7 has no madvise")
    with running(f"import mmap, os, time\ntime.sleep(0.3)\n{program}\ntime.sleep(300)") as process:
        breach = first_breach(watch(process))
        assert (breach.kind, breach.limit) == ("memory", 150 * MB)
        assert 150 * MB < breach.measured < 500 * MB


def test_a_sysv_segment_that_is_attached_nowhere_is_found() -> None:
    program = """
import ctypes, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
print(libc.shmget(0, ctypes.c_size_t(300_000_000), 0o1600), flush=True)
"""
    fill = """
address = libc.shmat(int(input()), None, 0)
ctypes.memset(address, 1, 300_000_000)
libc.shmdt(ctypes.c_void_p(address))
print("ready", flush=True)
time.sleep(300)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program + fill],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdin
        assert process.stdout
        segment = process.stdout.readline()
        try:
            monitor = watch(process)
            assert monitor.look() is None
            process.stdin.write(segment)
            process.stdin.flush()
            wait_ready(process)
            breach = monitor.look()
            assert breach is not None
            assert breach.kind == "memory"
            assert 300 * MB < breach.measured < 350 * MB
        finally:
            process.kill()
            subprocess.run(["ipcrm", "-m", segment.decode().strip()], check=True)


def test_a_step_that_hides_its_files_is_taken_to_hold_what_nobody_else_does() -> None:
    driver = os.fork()
    if driver == 0:
        try:
            os._exit(look_as_ordinary_user_at_process_that_hides())
        finally:
            os._exit(9)
    assert os.WEXITSTATUS(os.waitpid(driver, 0)[1]) == 0


def look_as_ordinary_user_at_process_that_hides() -> int:
    if os.geteuid() == 0:
        os.setuid(65534)
    reading, writing = os.pipe()
    asking, answering = os.pipe()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
        os.write(writing, b"1")
        os.read(asking, 1)
        file = open_memory_file()
        for _ in range(300):
            os.write(file, bytes(1_000_000))
        os.write(writing, b"1")
        time.sleep(300)
    try:
        os.read(reading, 1)
        # The child has the pages of the process that runs the tests too.
        monitor = Monitor(
            dataclasses.replace(LIMITS, memory=250 * MB + resident_memory([child])), lambda: [child]
        )
        before = monitor.look()
        os.write(answering, b"1")
        os.read(reading, 1)
        breach = monitor.look()
        return 0 if before is None and breach and breach.measured > 300 * MB else 1
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def open_memory_file() -> int:
    """A memfd, which Python 3.7 has no function for."""
    return int(ctypes.CDLL(None).memfd_create(b"x", 0))


def test_what_processes_share_counts_once() -> None:
    program = """
import os, time
data = bytes([1]) * 80_000_000
for i in range(9):
    if os.fork() == 0: time.sleep(300)
print("ready", flush=True)
time.sleep(300)
"""
    with running(program) as process:
        wait_ready(process)
        pids = wait_for(lambda: group_of(process)() if len(group_of(process)()) == 10 else None)
        assert resident_memory(pids) > 700 * MB
        private, shared = exact_memory(pids)
        assert 80 * MB < private < 150 * MB
        assert shared < MB
        assert watch(process).look() is None


def test_a_large_mapping_without_content_is_no_use_of_memory() -> None:
    program = """
import mmap, os, time
private = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
shared = mmap.mmap(-1, 1 << 30)
data = bytes([1]) * 100_000_000
print("ready", flush=True)
time.sleep(300)
"""
    limits = Limits(memory=110 * MB, processes=30, space=1, inodes=1)
    with running(program) as process:
        wait_ready(process)
        monitor = watch(process, limits)
        measured = monitor._exact_memory(group_of(process)(), 0)
        assert 100 * MB < measured < 120 * MB


def test_the_memory_of_others_ends_no_step() -> None:
    with running("import time; print('ready', flush=True); time.sleep(300)") as process:
        wait_ready(process)
        monitor = watch(process)
        with running(
            "import os, time\nf = os.memfd_create('x')\n"
            "for i in range(300): os.write(f, bytes(1_000_000))\n"
            "print('ready', flush=True); time.sleep(300)"
        ) as other:
            wait_ready(other)
            assert monitor.look() is None


def test_a_machine_without_memory_ends_the_step_however_it_was_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Files on their way through sockets, and the kernel's own memory, are seen nowhere else.
    machine = Machine(available=1000 * MB, swap_free=0, shared=0)
    monkeypatch.setattr(process_use, "read_machine", lambda: machine)
    monitor = Monitor(LIMITS, list)
    assert monitor.look() is None
    machine = Machine(available=40 * MB, swap_free=0, shared=0)
    assert monitor.look() == Breach("machine memory", 1000 * MB, 40 * MB)


def test_files_in_a_tmpfs_are_memory_too() -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[2])
from slipway.isolation.resource_limits import Limits
from slipway.isolation.resource_monitor import Monitor
from slipway.isolation.space_use import find_spaces
monitor = Monitor(Limits(10_000_000, 10, 1 << 40, 1 << 40), list, find_spaces([sys.argv[1]]))
print(monitor.look())
with open(sys.argv[1] + "/file", "wb") as file:
    file.write(bytes(12_000_000))
    file.flush()
    import os
    os.unlink(file.name)
    breach = monitor.look()
    print(breach.kind, 12_000_000 <= breach.measured < 13_000_000)
print(monitor.look())
"""
    text = with_tmpfs("/mnt", "size=100m,nr_inodes=1000", program, str(SOURCES))
    assert text.splitlines() == ["None", "memory True", "None"]


# --- Processes.


@pytest.mark.parametrize(
    "program",
    [
        "import os, time\nfor i in range(60):\n  if os.fork() == 0: time.sleep(300)",
        """
import threading, time
for i in range(60): threading.Thread(target=time.sleep, args=(300,)).start()
""",
    ],
    ids=["processes", "threads"],
)
def test_a_step_that_multiplies_is_found(program: str) -> None:
    with running(f"{program}\ntime.sleep(300)") as process:
        breach = first_breach(watch(process))
        assert (breach.kind, breach.limit) == ("processes", 30)
        assert 30 < breach.measured <= 61


def test_processes_that_are_gone_count_nothing() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert count_tasks([child, os.getpid()], enough=1000) >= 1
    assert resident_memory([child]) == 0
    assert exact_memory([child]) == (0, 0)
    assert process_use.held_files([child]) == {}
    assert process_use.mapped_files([child], 1) == {}


# --- Files.


def test_an_unlinked_file_that_is_open_is_held() -> None:
    program = """
import os, sys, time
with open(sys.argv[1], "wb", 0) as file:
    os.unlink(sys.argv[1])
    file.write(bytes(5_000_000))
    print("ready", flush=True)
    time.sleep(300)
"""
    path = f"/var/tmp/slipway-test-{os.getpid()}"
    with running(program, path) as process:
        wait_ready(process)
        sizes: List[int] = list(process_use.held_files(group_of(process)()).values())
        assert len(sizes) == 1
        assert 5_000_000 <= sizes[0] < 5_100_000


def test_a_step_that_fills_a_folder_is_found(tmp_path: Path) -> None:
    limits = Limits(memory=1 << 40, processes=1000, space=50 * MB, inodes=1 << 40)
    program = """
import sys, time
with open(sys.argv[1] + "/file", "wb") as file:
    for i in range(200): file.write(bytes(1_000_000)); time.sleep(0.005)
time.sleep(300)
"""
    spaces = find_spaces([str(tmp_path)])
    with running(program, str(tmp_path)) as process:
        breach = first_breach(Monitor(limits, group_of(process), spaces))
        assert (breach.kind, breach.limit) == ("space", 50 * MB)
        assert breach.measured > 50 * MB


def test_a_step_that_makes_too_many_files_is_found(tmp_path: Path) -> None:
    limits = Limits(memory=1 << 40, processes=1000, space=1 << 40, inodes=500)
    program = """
import sys, time
for i in range(2000): open(sys.argv[1] + f"/{i}", "wb").close()
time.sleep(300)
"""
    spaces = find_spaces([str(tmp_path)])
    if os.statvfs(tmp_path).f_files == 0:
        pytest.skip("this file system makes inodes as it needs them")
    with running(program, str(tmp_path)) as process:
        breach = first_breach(Monitor(limits, group_of(process), spaces))
        assert (breach.kind, breach.limit) == ("inodes", 500)


# --- What a cgroup enforces, and when to look.


def test_what_the_kernel_enforced_is_the_breach_and_is_not_measured() -> None:
    def never() -> Sequence[int]:
        raise AssertionError("the processes were listed")

    with Cgroup.make(LIMITS) as cgroup:
        if len(cgroup.enforced) < 2:
            pytest.skip("this process may make no cgroup here with both limits")
        monitor = Monitor(LIMITS, never, cgroup=cgroup)
        assert monitor.look() is None
        eater = "data = bytearray()\nwhile True: data += bytes([1]) * 1_000_000"
        with running(eater, join=cgroup.add) as process:
            process.wait(20)
            assert monitor.look() == Breach("memory", 150 * MB, 150 * MB)


class Clock:
    """Figures that a test sets, at times that it sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 0.0
        self.resident = 0
        machine = Machine(available=1 << 40, swap_free=0, shared=0)
        monkeypatch.setattr(process_use, "read_machine", lambda: machine)
        monkeypatch.setattr(process_use, "resident_memory", lambda pids: self.resident)
        self.monitor = Monitor(LIMITS, list, clock=lambda: self.time)

    def interval(self, seconds: float, resident: int) -> float:
        self.time += seconds
        self.resident = resident
        assert self.monitor.look() is None
        return self.monitor.interval


def test_looks_are_seldom_while_use_is_steady_and_frequent_near_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    assert clock.interval(0.2, 50 * MB) == 0.2
    assert clock.interval(0.2, 50 * MB) == 0.2
    assert clock.interval(0.2, 51 * MB) == 0.2, "growth that reaches the limit in 20 seconds"
    assert 0.02 < clock.interval(0.2, 100 * MB) < 0.1, "growth that reaches it in 0.2 seconds"
    assert clock.interval(0.2, 149 * MB) == 0.02
    assert clock.interval(0.2, 90 * MB) == 0.2


def test_an_expensive_look_is_taken_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((0.0, 0.004, 1.0, 1.1))
    clock = Clock(monkeypatch)
    monkeypatch.setattr(time, "thread_time", lambda: next(times))
    assert clock.interval(0.2, 0) == pytest.approx(0.4)
    assert clock.interval(0.2, 0) == pytest.approx(0.5)


def test_a_look_at_twenty_processes_costs_less_than_two_milliseconds(tmp_path: Path) -> None:
    with running(
        "import os, time\nfor i in range(4): os.fork()\n"
        "print('ready', flush=True) if os.getppid() else 0\ntime.sleep(300)"
    ) as process:
        wait_ready(process)
        pids = wait_for(lambda: group_of(process)() if len(group_of(process)()) == 16 else None)
        spaces = [Space(str(tmp_path), whole=False, memory=False)]
        monitor = Monitor(dataclasses.replace(LIMITS, memory=1 << 40), lambda: pids, spaces)
        begun = time.thread_time()
        for _ in range(50):
            assert monitor.look() is None
        assert time.thread_time() - begun < 50 * 0.002
