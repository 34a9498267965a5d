"""Fails after printing what would write to the clipboard, title and screen of the terminal."""

import sys

import kit

for text in (
    *(
        "\x1b]52;c;bWFya2Vk\x07",
        "\x1b]0;marked\x07",
        "\x1b[2J\x1b[1;1H",
        "\rSlipwayError: forged\x1b[K",
    ),
    *("\x9b31m", "\x9d52;c;bWFya2Vk\x9c", "\x08\x08\x08", "\x1b[8mhidden\x1b[0m", "\x00\x7f\x0e"),
    *("\u202ereversed\u202c", "\x1bP+q544e\x1b\\", "\x1b]8;;https://forged.example\x1b\\link"),
):
    sys.stdout.write(f"{text}\n")
    sys.stderr.write(f"{text}\n")
sys.stdout.buffer.write(b"\xff\xfe raw \x9b31m\n")
sys.stdout.flush()
kit.note("printed", True)
sys.exit(5)
