"""Leaves a daemon that goes on rewriting the package, its neighbours and /build/out."""

import glob
import os
import shutil
import sys
import time

import kit

npm = os.getppid()
while kit.parent_of(npm) > 1 and "npm" in kit.command_of(kit.parent_of(npm)):
    npm = kit.parent_of(npm)
# Much to collect: it takes long enough for the daemon to change what has been looked at.
for folder in range(20):
    os.mkdir(os.path.join(kit.FOLDER, f"many{folder}"))
    for number in range(100):
        with open(os.path.join(kit.FOLDER, f"many{folder}", f"{number}.txt"), "w") as file:
            file.write("as the script left it\n")
binding = os.path.join(kit.FOLDER, "binding.node")
shutil.copyfile(os.path.join(kit.FOLDER, "newer.bin"), binding)
if not kit.detach():
    sys.exit(0)


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return True
    return False


deadline = time.monotonic() + 60
late = os.path.join(kit.FOLDER, "many19", "late.txt")
while not ended(npm) and time.monotonic() < deadline:
    time.sleep(0.001)
# It takes a moment to end what npm left; what is written until then is the package's own.
time.sleep(0.5)
kit.reached("was alive after npm had ended")
number = 0
while time.monotonic() < deadline:
    number += 1
    try:
        with open(late, "w") as file:
            file.write(f"{number}\n")
        for path in glob.glob(f"{kit.OUT}/*.elf.json"):
            with open(path, "w") as file:
                file.write("[]")
        # The facts are read from one file, and another is packed.
        with open(binding, "w") as file:
            file.write("no ELF at all\n")
        shutil.copyfile(os.path.join(kit.FOLDER, "newer.bin"), binding)
    except OSError:
        break
os._exit(0)
