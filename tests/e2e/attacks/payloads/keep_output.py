"""Leaves daemons that hold its output open: a reader that waits for the end of the output waits for them."""

import os
import signal
import time

import kit

for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(200)
        os._exit(0)
kit.note("left", 3)
