"""Writes into the trees that later steps use, the programs and inputs of the step, and the system."""

import os
from typing import Iterator

import kit

TOPS = (
    *(kit.OUT, "/build/in", "/build/slipway", "/build/node_runtime", "/build/trees"),
    *("/usr", "/usr/bin", "/usr/local/bin", "/usr/lib", "/bin", "/sbin", "/lib", "/lib64", "/opt"),
    *("/etc", "/etc/ld.so.conf.d", "/root", "/srv", "/var", "/var/lib", "/boot", "/"),
    *("/proc/sys/kernel", "/sys", "/sys/fs/cgroup", "/dev", "/run"),
)
FILES = (
    *("/etc/passwd", "/etc/ld.so.cache", "/usr/bin/python3", "/bin/sh", "/usr/bin/env"),
    *("/build/in/arguments.json", "/build/node_runtime/bin/node", "/proc/sys/kernel/core_pattern"),
    *("/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/sys/power/state"),
)


def folders() -> Iterator[str]:
    yield from TOPS
    for top in ("/build/slipway", "/build/in", "/build/node_runtime/lib/node_modules/npm"):
        for folder, names, _ in os.walk(top):
            yield folder
            del names[8:]


def own_mount(path: str) -> bool:
    """Whether that folder is the script's own, in memory or its package."""
    return path.startswith(kit.FOLDER)


for folder in folders():
    if not os.path.isdir(folder) or own_mount(folder):
        continue
    place = os.path.join(folder, f"marked-{kit.TOKEN}")
    try:
        with open(place, "w") as file:
            file.write(kit.TOKEN)
        kit.reached(f"made a file in {folder}")
    except OSError as error:
        kit.note(f"file in {folder}", kit.word_of(error))
for path in FILES:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
        kit.reached(f"opened {path} for writing")
    except OSError as error:
        kit.note(path, kit.word_of(error))
programs = [os.path.join("/build/slipway", *found) for found in [("slipway", "core")]]
for folder in programs:
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        try:
            os.chmod(path, os.stat(path).st_mode & 0o7777)
            kit.reached(f"changed the mode of {path}")
            break
        except OSError:
            pass
