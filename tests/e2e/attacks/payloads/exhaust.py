"""Takes as much of one thing as it gets; `kind` says of what. Each is bounded, for a machine without
limits: it must not come to harm by a test."""

import mmap
import os
import sys
import time

import kit

KIND = kit.CONFIG["kind"]
GIGABYTE = 1 << 30
MOST = {"memory": 3 * GIGABYTE, "space": 3 * GIGABYTE}


def fill(path: str, size: int) -> None:
    block = b"\xa5" * (1 << 20)
    with open(path, "wb", buffering=0) as file:
        for _ in range(size >> 20):
            file.write(block)


if KIND == "processes":
    for _ in range(2000):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    time.sleep(60)
elif KIND == "memory":
    held = []
    for _ in range(MOST["memory"] >> 24):
        part = mmap.mmap(-1, 1 << 24)
        for place in range(0, 1 << 24, 4096):
            part[place] = 1
        held.append(part)
    time.sleep(20)
elif KIND == "memory-of-many":
    # No process is large: only their sum is.
    for _ in range(60):
        if os.fork() == 0:
            part = mmap.mmap(-1, 50 << 20)
            for place in range(0, 50 << 20, 4096):
                part[place] = 1
            time.sleep(60)
            os._exit(0)
    time.sleep(60)
elif KIND == "package":
    fill(os.path.join(kit.FOLDER, "filled"), MOST["space"])
elif KIND == "tmp":
    for number, folder in enumerate(("/tmp", "/dev/shm", "/home/build", "/tmp")):
        fill(os.path.join(folder, f"filled{number}"), MOST["space"] // 4)
    time.sleep(20)
elif KIND == "hidden":
    # An open file without a name, which no listing of folders shows.
    with open("/tmp/hidden", "wb", buffering=0) as file:
        os.unlink("/tmp/hidden")
        for _ in range(MOST["space"] >> 20):
            file.write(b"\xa5" * (1 << 20))
        time.sleep(20)
elif KIND == "entries":
    for index in range(400):
        directory = os.path.join(kit.FOLDER, f"e{index}")
        os.mkdir(directory)
        for number in range(1000):
            os.close(os.open(os.path.join(directory, str(number)), os.O_CREAT | os.O_WRONLY))
elif KIND == "sparse":
    with open(os.path.join(kit.FOLDER, "sparse"), "wb") as sparse:
        sparse.truncate(1 << 40)
elif KIND == "output":
    line = b"x" * 1000 + b"\n"
    for _ in range(2_000_000):
        os.write(1, line)
elif KIND == "long-line":
    for _ in range(2000):
        os.write(1, b"x" * (1 << 20))
else:
    sys.exit(f"unknown kind {KIND}")
print(f"took all {KIND}", flush=True)
