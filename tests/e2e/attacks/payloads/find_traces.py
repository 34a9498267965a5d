"""Looks for what scripts of other packages, in other steps, have left: files, objects, processes."""

import os
import time

import kit

deadline = time.monotonic() + kit.CONFIG.get("seconds", 0)
while True:
    for folder in ("/tmp", "/dev/shm", "/var/tmp", "/home/build", "/build", "/dev", "/run"):
        try:
            for name in os.listdir(folder):
                if name.startswith("marked-") or "poison" in name or name in ("locked", "moved"):
                    kit.reached(f"found {name} of another step in {folder}")
        except OSError:
            pass
    for number, name in ((29, "shared memory"), (64, "semaphores"), (68, "a message queue")):
        done, _ = kit.call(number, *(kit.CONFIG["ipc_key"], *((0, 0) if number != 68 else (0,))), 0)
        if done >= 0:
            kit.reached(f"found {name} of another step")
    for pid in kit.visible():
        command = kit.command_of(pid)
        if "attack.py" in command and kit.TOKEN not in command:
            kit.reached(f"saw process {pid} of another step: {command[:80]}")
    if time.monotonic() >= deadline:
        break
    time.sleep(0.2)
