"""Leaves processes that constantly replace themselves, so that their numbers are always out of date."""

import os
import sys
import time

import kit

deadline = time.monotonic() + 90
for _ in range(4):
    if not kit.detach():
        continue
    while time.monotonic() < deadline:
        # The child goes on, the parent ends: each number lives for a moment.
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            time.sleep(0.01)
        os.setsid()
    os._exit(0)
time.sleep(0.5)
sys.exit(0)
