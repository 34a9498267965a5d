"""Fails with `out/network.json` a link to a file of the user who builds, after a try at the network."""

import os
import socket
import sys

import kit

try:
    if kit.CONFIG.get("kind") == "fifo":
        os.mkfifo(f"{kit.OUT}/network.json")
    else:
        os.symlink(kit.CONFIG["victim"], f"{kit.OUT}/network.json")
    print(f"REACHED {kit.TOKEN} /build/out", flush=True)
except OSError as error:
    kit.note("link", kit.word_of(error))
try:
    socket.socket().connect(("203.0.113.7", 80))
except OSError:
    pass
sys.exit(3)
