"""Leaves in its package's folder what no package has; `kind` says what."""

import os
import shutil
import socket
import stat
import sys

import kit

KIND = kit.CONFIG["kind"]
os.chdir(kit.FOLDER)
if KIND == "fifo":
    os.mkfifo("pipe")
elif KIND == "socket":
    socket.socket(socket.AF_UNIX).bind("listening")
elif KIND == "device":
    for name, mode in (("null", stat.S_IFCHR | 0o666), ("disk", stat.S_IFBLK | 0o666)):
        try:
            os.mknod(name, mode, os.makedev(1, 3) if name == "null" else os.makedev(8, 0))
            kit.reached(f"made a device file {name}")
        except OSError as error:
            kit.note(name, kit.word_of(error))
elif KIND == "set-id":
    with open("tool", "w") as file:
        file.write("#!/bin/sh\n")
    os.chmod("tool", 0o6755)
    os.mkdir("open")
    os.chmod("open", 0o7777)
elif KIND == "links":
    for name, target in (
        ("absolute", "/etc/passwd"),
        ("upwards", "../" * 30 + "etc/passwd"),
        ("out", "/build/out"),
        ("loop", "loop"),
        ("neighbour", "../bystander/index.js"),
        ("host", kit.CONFIG["targets"] + "/through-link"),
    ):
        os.symlink(target, name)
elif KIND == "names":
    for name in ("line\nbreak", "\x1b]52;c;bWFya2Vk\x07", "\x1b[2J\r", "c1-\x9b31m", "x" * 255):
        with open(name, "w") as file:
            file.write("odd\n")
    with open(os.path.join("..", "elsewhere-\x1b[31m\x07"), "w") as file:
        file.write("odd\n")
elif KIND == "bytes":
    for raw in (b"not-utf-8-\xff\xfe", b"overlong-\xc0\xaf"):
        with open(raw, "wb") as file:
            file.write(b"odd\n")
elif KIND == "deep":
    # Deeper than any path may be long, and than Python may call itself.
    os.mkdir("deep")
    os.chdir("deep")
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
elif KIND == "locked":
    for top in ("locked", "/build/locked", "/home/build/locked", "/tmp/locked"):
        try:
            os.makedirs(os.path.join(top, "inner"))
            with open(os.path.join(top, "inner", "file"), "w") as file:
                file.write(kit.TOKEN)
            os.chmod(os.path.join(top, "inner"), 0)
            os.chmod(top, 0)
        except OSError as error:
            kit.note(top, kit.word_of(error))
elif KIND == "swapped":
    # The folder that is collected becomes a link to the system's, and its real one moves away.
    parent, name = os.path.split(kit.FOLDER)
    shutil.copytree(kit.FOLDER, "/tmp/moved")
    shutil.rmtree(kit.FOLDER)
    os.symlink("/etc", kit.FOLDER)
elif KIND == "top-swapped":
    # The whole application becomes a link to the root of the step.
    app = os.path.dirname(os.path.dirname(kit.FOLDER))
    try:
        os.rename(app, f"{app}-moved")
        os.symlink("/", app)
    except OSError as error:
        kit.note("rename", kit.word_of(error))
elif KIND == "sparse":
    with open("huge", "wb") as file:
        file.truncate(1 << 40)
else:
    sys.exit(f"unknown kind {KIND}")
