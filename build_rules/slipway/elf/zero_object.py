"""Writes an object file whose variables are zero, for names that the oldest host lacks.

The parts of a newer static library can read a variable of a newer C library. Where zero is the safe
value of the variable, each linked file gets its own zero.
"""

from __future__ import annotations

import struct
from typing import List, Sequence, Tuple

from slipway.elf import sections

_RELOCATABLE, _X86_64 = 1, 62
_WRITABLE_AND_LOADED = 3  # SHF_WRITE | SHF_ALLOC
_PROGRAM_DATA, _OBJECT, _HIDDEN_VISIBILITY = 1, 1, 2
_VARIABLE_SIZE = 16  # more than any type needs that code reads in one instruction
_HEADER_SIZE, _SECTION_SIZE = 64, 64
_BSS = 1  # the index of .bss


def make_zeros(names: Sequence[str]) -> bytes:
    """A relocatable file for x86-64 with a hidden variable of 16 zero bytes for each name."""
    texts, symbols = bytearray(b"\0"), bytearray(sections.SYMBOL_SIZE)
    for number, name in enumerate(names):
        symbols += struct.pack(
            "<IBBHQQ",
            *(len(texts), sections.GLOBAL << 4 | _OBJECT, _HIDDEN_VISIBILITY),
            *(_BSS, number * _VARIABLE_SIZE, _VARIABLE_SIZE),
        )
        texts += name.encode() + b"\0"
    # Without .note.GNU-stack, linkers give the program an executable stack.
    labels = ("", ".bss", ".note.GNU-stack", ".symtab", ".strtab", ".shstrtab")
    label_texts = b"".join(label.encode() + b"\0" for label in labels)
    body = bytearray(_HEADER_SIZE)
    headers: List[Tuple[int, ...]] = [(0,) * 10]

    def add(kind: int, content: bytes, size: int, *rest: int, flags: int = 0) -> None:
        body.extend(bytes(-len(body) % 8))
        label = label_texts.index(labels[len(headers)].encode() + b"\0")
        headers.append((label, kind, flags, 0, len(body), size, *rest))
        body.extend(content)

    size = len(names) * _VARIABLE_SIZE
    add(sections.EMPTY, b"", size, 0, 0, _VARIABLE_SIZE, 0, flags=_WRITABLE_AND_LOADED)
    add(_PROGRAM_DATA, b"", 0, 0, 0, 1, 0)
    # .symtab names its strings, which follow it, and its first symbol that is not local.
    add(sections.SYMBOLS, symbols, len(symbols), len(headers) + 1, 1, 8, sections.SYMBOL_SIZE)
    add(sections.STRINGS, texts, len(texts), 0, 0, 1, 0)
    add(sections.STRINGS, label_texts, len(label_texts), 0, 0, 1, 0)
    body.extend(bytes(-len(body) % 8))
    table = len(body)
    for header in headers:
        body.extend(struct.pack("<IIQQQQIIQQ", *header))
    struct.pack_into(
        "<16sHHIQQQIHHHHHH",
        body,
        0,
        *(b"\x7fELF\x02\x01\x01", _RELOCATABLE, _X86_64, 1, 0, 0, table, 0, _HEADER_SIZE),
        *(0, 0, _SECTION_SIZE, len(headers), len(headers) - 1),
    )
    return bytes(body)
