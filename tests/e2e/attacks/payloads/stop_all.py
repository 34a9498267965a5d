"""Stops every process that it sees for five seconds, with SIGSTOP."""

import os
import signal
import time

import kit


def state_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "?"


targets = kit.others()
for pid in targets:
    try:
        os.kill(pid, signal.SIGSTOP)
    except OSError as error:
        kit.note(f"stop {pid}", kit.word_of(error))
time.sleep(0.3)
for pid in targets:
    if state_of(pid) in "Tt":
        kit.reached(f"stopped process {pid}: {kit.command_of(pid)[:60]}")
time.sleep(4)
for pid in targets:
    try:
        os.kill(pid, signal.SIGCONT)
    except OSError:
        pass
