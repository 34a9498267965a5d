"""Reads what /proc tells of processes outside of its own family: files, environment, folders."""

import os

import kit

for pid in kit.others():
    for name in ("environ", "maps", "auxv", "io", "pagemap"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if file.read(1):
                    kit.reached(f"read /proc/{pid}/{name} of {kit.command_of(pid)[:60]}")
        except OSError:
            pass
    for name in ("root", "cwd", "exe"):
        try:
            os.stat(f"/proc/{pid}/{name}/.")
            kit.reached(f"entered /proc/{pid}/{name} of {kit.command_of(pid)[:60]}")
        except OSError:
            pass
    # The existence of open files is public; their content is secret.
    for number in range(30):
        try:
            where = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        kit.reached(f"saw descriptor {number} of process {pid}: {where}")
        break
