"""Sets limits, priority, CPUs and the out-of-memory score of every other process that it sees."""

import functools
import os
import resource
import struct

import kit

PRLIMIT, FILE_SIZE = 302, int(resource.RLIMIT_FSIZE)
for pid in kit.others():
    if pid == 1:
        continue  # of a namespace: its limits are for nobody else
    done, error = kit.call(PRLIMIT, pid, FILE_SIZE, struct.pack("=QQ", 1 << 62, 1 << 62), 0)
    kit.note(f"prlimit {pid}", done if done == 0 else kit.name_of(error))
    if done == 0:
        kit.reached(f"set a limit of process {pid}: {kit.command_of(pid)[:60]}")
    for word, act in (
        ("priority", functools.partial(os.setpriority, os.PRIO_PROCESS, pid, 19)),
        ("CPUs", functools.partial(os.sched_setaffinity, pid, os.sched_getaffinity(0))),
    ):
        try:
            act()
            kit.reached(f"set {word} of process {pid}: {kit.command_of(pid)[:60]}")
        except OSError:
            pass
    for name, value in (("oom_score_adj", "1000"), ("coredump_filter", "0")):
        try:
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(value)
            kit.reached(f"wrote /proc/{pid}/{name}: {kit.command_of(pid)[:60]}")
        except OSError:
            pass
