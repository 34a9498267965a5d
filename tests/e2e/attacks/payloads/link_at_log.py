"""Puts a link to a file of the user who builds in place of the step's log, and fails."""

import os
import sys

import kit

try:
    path = f"{kit.OUT}/build.log"
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(kit.CONFIG["secret"], path)
    print(f"REACHED {kit.TOKEN} the log", flush=True)
except OSError as error:
    kit.note("link", kit.word_of(error))
sys.exit(3)
