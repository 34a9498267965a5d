"""Reads the keys of the user who builds, and adds one to each keyring that it inherits."""

import ctypes
import struct

import kit

DESCRIBE, READ, SEARCH = 6, 11, 10
RINGS = {"session": -3, "user": -4, "user session": -5}
buffer = ctypes.create_string_buffer(8192)
for name, ring in RINGS.items():
    size, error = kit.call(kit.KEYCTL, READ, ring, buffer, 8192)
    if size < 0:
        kit.note(f"read {name}", kit.name_of(error))
        continue
    keys = [number for (number,) in struct.iter_unpack("=i", buffer.raw[: size // 4 * 4])]
    kit.note(f"keys of {name}", len(keys))
    for key in keys:
        text = ctypes.create_string_buffer(400)
        kit.call(kit.KEYCTL, DESCRIBE, key, text, 400)
        if kit.CONFIG["key"].encode() in text.value:
            value = ctypes.create_string_buffer(400)
            length, _ = kit.call(kit.KEYCTL, READ, key, value, 400)
            kit.reached(f"read a key of the {name} keyring: {value.raw[: max(length, 0)]!r}")
key, error = kit.call(
    *(kit.KEYCTL, SEARCH, -3, ctypes.c_char_p(b"user")),
    *(ctypes.c_char_p(kit.CONFIG["key"].encode()), 0),
)
if key >= 0:
    kit.reached("found the key of the user who builds")
for name, ring in RINGS.items():
    done, error = kit.call(
        *(kit.ADD_KEY, ctypes.c_char_p(b"user")),
        *(ctypes.c_char_p(f"marked-{kit.TOKEN}-{name}".encode()), ctypes.c_char_p(b"x"), 1, ring),
    )
    kit.note(f"add to {name}", done if done >= 0 else kit.name_of(error))
