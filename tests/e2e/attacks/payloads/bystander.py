"""A package that means no harm: it works for some seconds, and must not be disturbed."""

import os
import time

import kit

deadline = time.monotonic() + kit.CONFIG["seconds"]
last = time.monotonic()
while time.monotonic() < deadline:
    time.sleep(0.05)
    now = time.monotonic()
    kit.note("longest pause", max(now - last, 0))
    if now - last > 3:
        kit.reached(f"was stopped for {now - last:.1f} s")
    last = now
with open(os.path.join(kit.FOLDER, "made.txt"), "w") as file:
    file.write("made by the bystander\n")
