"""Tries to reach the network under the name of another package, with escape codes in it."""

import os
import subprocess
import sys

import kit

CODE = "import socket; socket.socket().connect(('203.0.113.7', 80))"
for name, shown in (("react", "react"), ("\x1b[2K\r\x1b[31mreact", "escaped")):
    env = {
        **os.environ,
        "npm_package_name": name,
        "npm_package_version": "19.0.0",
        "npm_lifecycle_event": "install",
        "npm_lifecycle_script": "\x1b]52;c;bWFya2Vk\x07",
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, f"\x1b[31m{shown}"],
        env=env,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    kit.note(shown, done.returncode)
