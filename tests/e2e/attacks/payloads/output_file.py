"""Treats its own output as a file of the step: empties it, opens it again, changes its mode."""

import functools
import os
import stat

import kit


def open_again(number: int) -> None:
    os.close(os.open(f"/proc/self/fd/{number}", os.O_RDWR))


for number in (0, 1, 2):
    try:
        state = os.fstat(number)
    except OSError as error:
        kit.note(f"descriptor {number}", kit.word_of(error))
        continue
    kit.note(f"descriptor {number}", stat.filemode(state.st_mode))
    if not stat.S_ISREG(state.st_mode):
        continue
    kit.reached(f"writes descriptor {number} to a file of the step")
    for word, act in (
        ("emptied", functools.partial(os.ftruncate, number, 0)),
        ("set the mode of", functools.partial(os.fchmod, number, 0o6755)),
        ("opened again", functools.partial(open_again, number)),
    ):
        try:
            act()
            kit.reached(f"{word} the file behind descriptor {number}")
        except OSError as error:
            kit.note(f"{word} {number}", kit.word_of(error))
